"""Decrypts the Proxmox API token of a stack. The token is only in memory, never in a file."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import CONFIG, Session, SessionError
from settings import encrypted
from settings.load import TOKEN
from settings.problems import Problem, SettingsError

DECRYPT_TIMEOUT_S = 60
"""Seconds that the Pulumi CLI has to decrypt the settings."""
FIX = "run `pulumi config` to see the error"


def of_session(session: Session, folder: Path) -> str:
    """Decrypt the token of a session's stack. Raises ``SettingsError``."""
    try:
        printed = session.config()
    except SessionError as error:
        raise _cli_error(session.stack, str(error)) from None
    return _find(session.stack, folder, printed)


def opened(stack: str, folder: Path, pulumi: Path | None, environment: Mapping[str, str]) -> str:
    """Decrypt the token without a session. ``pulumi`` is the path of the CLI, ``None`` if there is
    none. Raises ``SettingsError``.
    """
    if pulumi is None:
        raise _error(
            stack, "cannot be decrypted without the Pulumi CLI", "`make preview` installs it"
        )
    try:
        done = subprocess.run(
            [str(pulumi), *CONFIG, "--stack", stack, "--non-interactive"],
            cwd=folder,
            env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DECRYPT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise _error(stack, "the Pulumi CLI cannot decrypt it", FIX) from None
    if done.returncode != 0:
        raise _cli_error(stack, done.stderr)
    return _find(stack, folder, done.stdout)


def _find(stack: str, folder: Path, printed: str | bytes) -> str:
    """Find the token in the output of the CLI, or in the SOPS file of the stack."""
    try:
        values, _ = stack_settings.values_of(printed)
        if TOKEN in encrypted.read(stack, folder):
            return str(encrypted.opened(stack, values, folder)[TOKEN])
        return values[TOKEN].strip()
    except (ValueError, LookupError):
        raise _error(stack, "the Pulumi CLI cannot decrypt it", FIX) from None


def _cli_error(stack: str, output: str) -> SettingsError:
    """The error with the first line of the CLI's error output."""
    line = next((it.strip() for it in output.splitlines() if it.strip()), "no error message")
    return _error(
        stack,
        f"cannot be decrypted: {line.removeprefix('error: ')}",
        "set PULUMI_CONFIG_PASSPHRASE to the passphrase, or enter the token again: make token",
    )


def _error(stack: str, reason: str, fix: str) -> SettingsError:
    return SettingsError([Problem(TOKEN, "encrypted", reason, fix)], stack)
