"""Reads the Pulumi state of a stack with encrypted secrets, so without a passphrase."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.pulumi_cli import cli

STACK = "pulumi:pulumi:Stack"
"""Type of the resource that has the stack outputs."""
_NO_SUCH_STACK = 6
"""Exit code of the CLI (pulumi pkg/cmd/pulumi/cmd/exit_codes.go, ExitStackNotFound)."""
_EXPORT_TIMEOUT_S = 60
"""Seconds that the CLI has to export the state."""


class NoStateError(Exception):
    """The state cannot be read. The message has the reason."""


def opened(value: Any) -> Any:
    """The value of an output in a decrypted state, without Pulumi's wrapper of secrets."""
    if isinstance(value, Mapping) and "plaintext" in value:
        return json.loads(value["plaintext"])
    return value


def resources(
    project: Path, cli_folder: Path, stack: str, environment: Mapping[str, str] = os.environ
) -> list[dict[str, Any]]:
    """The resources in the state of a stack; empty if the stack does not exist.

    Secrets are ciphertext. ``environment`` is the environment of the CLI, which is not installed
    if it is missing. Raises ``NoStateError``.
    """
    pulumi = cli.installed(cli_folder)
    if pulumi is None:
        raise NoStateError(
            "there is no Pulumi CLI to read the state (the stack may not exist yet, or its state "
            "is on another computer)"
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
            timeout=_EXPORT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise NoStateError(f"the Pulumi CLI did not answer within {_EXPORT_TIMEOUT_S} s") from None
    if done.returncode == _NO_SUCH_STACK:
        return []
    try:
        if done.returncode == 0:
            found: list[dict[str, Any]] = json.loads(done.stdout)["deployment"].get("resources", [])
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    # Without the message of the CLI, because a backend URL in it may contain a password.
    raise NoStateError(f"the state cannot be read; `{' '.join(command[:5])}` shows the reason")
