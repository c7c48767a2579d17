"""Opens the API token that lies encrypted in a stack file; it stays in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from settings import Problem, SettingsError
from settings.load import TOKEN

LIMIT = 60
"""Seconds that the CLI has to open it."""


def opened(stack: str, folder: Path, pulumi: Path | None, environment: Mapping[str, str]) -> str:
    """The token, as the CLI decrypts it. Raises ``SettingsError`` where it does not."""
    if pulumi is None:
        raise _closed(stack, "cannot be opened without the Pulumi CLI", "`make preview` gets it")
    command = [str(pulumi), "config", "get", TOKEN, "--stack", stack, "--non-interactive"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise _closed(
            stack, "the Pulumi CLI does not open it", "see what `pulumi config` says"
        ) from None
    if done.returncode != 0:
        said = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "no word")
        raise _closed(
            stack,
            f"cannot be opened: {said.removeprefix('error: ')}",
            "set PULUMI_CONFIG_PASSPHRASE to the passphrase; or put the token in anew: make token",
        )
    return done.stdout.strip()


def _closed(stack: str, reason: str, cure: str) -> SettingsError:
    return SettingsError([Problem(TOKEN, "encrypted", reason, cure)], stack)
