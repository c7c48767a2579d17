"""Opens the API token, which lies encrypted in a stack file or beside it; it stays in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import castle
from settings import encrypted
from settings.load import TOKEN
from settings.problems import Problem, SettingsError

LIMIT = 60
"""Seconds that the CLI has to open it."""


def opened(stack: str, folder: Path, pulumi: Path | None, environment: Mapping[str, str]) -> str:
    """The token, decrypted by the CLI, or by SOPS where it is among the settings that SOPS keeps.

    Raises ``SettingsError`` where it cannot be opened.
    """
    if pulumi is None:
        raise _closed(stack, "cannot be opened without the Pulumi CLI", "`make preview` gets it")

    def read(words: Sequence[str]) -> str:
        command = [str(pulumi), *words, "--stack", stack, "--non-interactive"]
        return _read(command, stack, folder, environment)

    if TOKEN not in encrypted.names(stack, folder):
        return read(["config", "get", TOKEN]).strip()
    values, _ = castle.values_of(read(castle.CONFIG))
    return str(encrypted.opened(stack, values, folder)[TOKEN])


def _read(command: list[str], stack: str, folder: Path, environment: Mapping[str, str]) -> str:
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
    return done.stdout


def _closed(stack: str, reason: str, cure: str) -> SettingsError:
    return SettingsError([Problem(TOKEN, "encrypted", reason, cure)], stack)
