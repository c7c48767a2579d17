"""Reads the engine's state of a stack; closed, where no passphrase is to be asked for."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.pulumi_cli import cli

STACK = "pulumi:pulumi:Stack"
"""Type of the resource whose outputs are those of the stack."""
_NO_SUCH_STACK = 6
"""The CLI's exit code (pulumi pkg/cmd/pulumi/cmd/exit_codes.go, ExitStackNotFound)."""
_LIMIT = 60
"""Seconds that the CLI has to answer."""


class NoStateError(Exception):
    """The state cannot be read; one sentence says why."""


def opened(value: Any) -> Any:
    """A value of a state whose secrets are open, out of the envelope that says it is one."""
    if isinstance(value, Mapping) and "plaintext" in value:
        return json.loads(value["plaintext"])
    return value


def resources(
    project: Path, cli_folder: Path, stack: str, environment: Mapping[str, str] = os.environ
) -> list[dict[str, Any]]:
    """The resources that the engine has of a stack, with every secret as ciphertext.

    ``environment`` is that of the CLI. Empty where the stack has not been made yet. Installs no
    CLI. Raises ``NoStateError``.
    """
    pulumi = cli.installed(cli_folder)
    if pulumi is None:
        raise NoStateError(
            "not made yet, or not from here: there is no Pulumi CLI to ask for the state"
        )
    command = ["pulumi", "stack", "export", "--stack", stack, "--non-interactive"]
    try:
        done = subprocess.run(
            command,
            executable=pulumi,
            cwd=project,
            env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise NoStateError(f"the Pulumi CLI did not answer within {_LIMIT} s") from None
    if done.returncode == _NO_SUCH_STACK:
        return []
    try:
        if done.returncode == 0:
            found: list[dict[str, Any]] = json.loads(done.stdout)["deployment"].get("resources", [])
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    # Not what it says: the address of a backend may hold a password.
    raise NoStateError(f"the state cannot be read; `{' '.join(command[:5])}` says why")
