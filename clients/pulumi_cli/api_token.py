"""Opens the API token, which lies encrypted in a stack file or beside it; it stays in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import CONFIG, Session, SessionError
from settings import encrypted
from settings.load import TOKEN
from settings.problems import Problem, SettingsError

LIMIT = 60
"""Seconds that the CLI has to open it."""
FIX = "see what `pulumi config` says"


def of_session(session: Session, folder: Path) -> str:
    """The token of a session's stack; raises ``SettingsError`` where it cannot be opened."""
    try:
        printed = session.config()
    except SessionError as error:
        raise _refused(session.stack, str(error)) from None
    return _find(session.stack, folder, printed)


def opened(stack: str, folder: Path, pulumi: Path | None, environment: Mapping[str, str]) -> str:
    """The same for a command that has no session."""
    if pulumi is None:
        raise _closed(stack, "cannot be opened without the Pulumi CLI", "`make preview` gets it")
    try:
        done = subprocess.run(
            [str(pulumi), *CONFIG, "--stack", stack, "--non-interactive"],
            cwd=folder,
            env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise _closed(stack, "the Pulumi CLI does not open it", FIX) from None
    if done.returncode != 0:
        raise _refused(stack, done.stderr)
    return _find(stack, folder, done.stdout)


def _find(stack: str, folder: Path, printed: str | bytes) -> str:
    """The token in what the CLI printed, or in the file of SOPS."""
    try:
        values, _ = stack_settings.values_of(printed)
        if TOKEN in encrypted.names(stack, folder):
            return str(encrypted.opened(stack, values, folder)[TOKEN])
        return values[TOKEN].strip()
    except (ValueError, LookupError):
        raise _closed(stack, "the Pulumi CLI does not open it", FIX) from None


def _refused(stack: str, said: str) -> SettingsError:
    line = next((line.strip() for line in said.splitlines() if line.strip()), "no word")
    return _closed(
        stack,
        f"cannot be opened: {line.removeprefix('error: ')}",
        "set PULUMI_CONFIG_PASSPHRASE to the passphrase; or put the token in anew: make token",
    )


def _closed(stack: str, reason: str, fix: str) -> SettingsError:
    return SettingsError([Problem(TOKEN, "encrypted", reason, fix)], stack)
