"""Reads Longhorn's objects in the cluster of a stack, and prints their problems after an ``up``."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from clients.kubernetes.api import ApiError, ClusterApi
from clients.kubernetes.longhorn import Storage, read_storage
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.kubeconfig import kubeconfig_of
from clients.pulumi_cli.session import Session, SessionError
from doctor import storage_record
from doctor.storage_record import StorageRecord
from lifecycle.operations.storage_health import storage_problems
from settings.problems import SettingsError

KNOWN = (ApiError, SessionError, SettingsError)
"""Errors whose text is a sentence."""


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


def after_up(session: Session, project: Path) -> None:
    """Print what is wrong with the cluster's storage, warnings only, and keep a record of it.

    Raises nothing: the ``up`` itself has succeeded.
    """
    try:
        storage = read_and_keep(session.stack, project, kubeconfig_of(session))
        if storage is None:
            return
        settings, now = stack_settings.settings(session), datetime.now(UTC)
        problems = list(storage_problems(storage, settings, now, is_deployed=True))
    except Exception as error:
        reason = str(error) if isinstance(error, KNOWN) else f"{type(error).__name__}: {error}"
        print(f"The storage was not checked: {reason}. `make doctor` checks it again.", flush=True)
        return
    for problem in problems:
        if problem.severity == "warning":
            print(f"Storage: {problem.subject} {problem.text}\n  -> {problem.fix}", flush=True)
