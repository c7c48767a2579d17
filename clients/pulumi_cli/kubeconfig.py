"""Reads the kubeconfig of a stack from its outputs. The kubeconfig is never written to a file."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from clients.kubernetes.api import ApiError
from clients.pulumi_cli import cli, state
from clients.pulumi_cli.session import Session, SessionError

KUBECONFIG = "kubeconfig"
"""Name of the stack output."""
OUTPUT_TIMEOUT_S = 30
"""Seconds that the CLI has to print an output."""


def kubeconfig_of(session: Session) -> str | None:
    """Read the output ``kubeconfig`` of a session's stack; ``None`` if it is missing.

    Raises ``ApiError``.
    """
    try:
        resources = session.deployment(secrets=True).get("resources") or []
    except SessionError:
        # Without the message of the CLI, because a backend URL in it may contain a password.
        raise ApiError(
            f"the kubeconfig of the cluster cannot be decrypted: `pulumi stack export --stack "
            f"{session.stack} --show-secrets` shows the reason"
        ) from None
    for resource in resources:
        if resource["type"] == state.STACK and (raw := resource.get("outputs", {}).get(KUBECONFIG)):
            return str(state.opened(raw))
    return None


def read_kubeconfig(
    stack: str, project: Path, cli_folder: Path, environment: Mapping[str, str]
) -> str | None:
    """Read the output ``kubeconfig`` without a session; ``None`` if the output or the CLI is
    missing.

    ``environment`` is the environment of the CLI, with the passphrase. Raises ``ApiError``.
    """
    pulumi = cli.installed(cli_folder)
    if pulumi is None:
        return None
    try:
        resources = state.resources(project, cli_folder, stack, environment)
    except state.NoStateError as error:
        raise ApiError(f"the kubeconfig of the cluster cannot be read: {error}") from None
    if not any(
        it["type"] == state.STACK and KUBECONFIG in it.get("outputs", {}) for it in resources
    ):
        return None
    return _read_output(pulumi, stack, project, environment)


def _read_output(pulumi: Path, stack: str, project: Path, environment: Mapping[str, str]) -> str:
    words = ["stack", "output", KUBECONFIG, "--show-secrets", "--non-interactive"]
    try:
        done = subprocess.run(
            [str(pulumi), *words, "--stack", stack],
            cwd=project,
            env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=OUTPUT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"the Pulumi CLI did not answer within {OUTPUT_TIMEOUT_S} s"
    except OSError as error:
        reason = f"the Pulumi CLI does not start: {error.strerror}"
    else:
        if done.returncode == 0:
            return done.stdout
        # Without the message of the CLI, because a backend URL in it may contain a password.
        reason = "is PULUMI_CONFIG_PASSPHRASE set to the passphrase of the stack?"
    raise ApiError(f"the kubeconfig of the cluster cannot be decrypted: {reason}")
