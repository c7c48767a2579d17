"""Reads Longhorn's objects in the cluster of a stack, and prints their problems after an ``up``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from clients.kubernetes.longhorn import Storage, read_storage
from components.cluster_api import ApiError, ClusterApi
from engine import castle, cli, state, storage_record
from engine.session import Session, SessionError
from engine.storage_record import StorageRecord
from lifecycle.operations.storage_health import storage_problems
from settings.problems import SettingsError

KUBECONFIG = "kubeconfig"
"""Name of the stack's output."""
KNOWN = (ApiError, SessionError, SettingsError)
"""Errors whose text is a sentence."""
OUTPUT_TIMEOUT_S = 30
"""Seconds that the CLI has to print an output."""


def read_and_keep(stack: str, project: Path, kubeconfig: str | None) -> Storage | None:
    """Read the storage of a stack's cluster, and keep a record of it for the report.

    ``kubeconfig`` is None if the stack has no cluster. None as well if Longhorn is not installed in
    the cluster. Raises ``ApiError``.
    """
    storage = read_storage(ClusterApi.of(kubeconfig)) if kubeconfig else None
    if storage:
        with suppress(OSError):  # only the report needs the record
            record = StorageRecord(moment=datetime.now(UTC), storage=storage)
            storage_record.keep(project, stack, record)
    return storage


def kubeconfig_of(session: Session) -> str | None:
    """The output ``kubeconfig`` of a session's stack, for memory alone; None if it has none.

    Raises ``ApiError``.
    """
    try:
        resources = session.deployment(secrets=True).get("resources") or []
    except SessionError:
        # Not the CLI's own message: the address of a backend may contain a password.
        raise ApiError(
            f"the kubeconfig of the cluster cannot be opened: `pulumi stack export --stack "
            f"{session.stack} --show-secrets` says why"
        ) from None
    for resource in resources:
        if resource["type"] == state.STACK and (raw := resource.get("outputs", {}).get(KUBECONFIG)):
            return str(state.opened(raw))
    return None


def read_kubeconfig(
    stack: str, project: Path, cli_folder: Path, environment: Mapping[str, str]
) -> str | None:
    """The same for a command that has no session.

    The CLI opens the kubeconfig only if the state has one. ``environment`` is that of the CLI, with
    the passphrase. Raises ``ApiError``.
    """
    pulumi = cli.installed(cli_folder)
    if pulumi is None:
        return None
    try:
        resources = state.resources(project, cli_folder, stack, environment)
    except state.NoStateError as error:
        raise ApiError(f"the kubeconfig of the cluster cannot be opened: {error}") from None
    if not any(
        it["type"] == state.STACK and KUBECONFIG in it.get("outputs", {}) for it in resources
    ):
        return None
    return _read_output(pulumi, stack, project, environment)


def after_up(session: Session, project: Path) -> None:
    """Print what is wrong with the cluster's storage, warnings only, and keep a record of it.

    Raises nothing: the ``up`` itself has succeeded.
    """
    try:
        storage = read_and_keep(session.stack, project, kubeconfig_of(session))
        if storage is None:
            return
        settings, now = castle.settings(session), datetime.now(UTC)
        problems = list(storage_problems(storage, settings, now, is_deployed=True))
    except Exception as error:
        reason = str(error) if isinstance(error, KNOWN) else f"{type(error).__name__}: {error}"
        print(f"The storage was not checked: {reason}. `make doctor` checks it again.", flush=True)
        return
    for problem in problems:
        if problem.severity == "warning":
            print(f"Storage: {problem.subject} {problem.text}\n  -> {problem.fix}", flush=True)


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
        # Not the CLI's own message: the address of a backend may contain a password.
        reason = "is PULUMI_CONFIG_PASSPHRASE set to the passphrase of the stack?"
    raise ApiError(f"the kubeconfig of the cluster cannot be opened: {reason}")
