"""The storage of a stack's cluster: read Longhorn's objects, print problems, and record them.

The record is for the report. ``make up`` and ``make doctor`` write it each time they have read
Longhorn's objects. It contains no secret.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi
from clients.kubernetes.longhorn import Storage, read_storage
from clients.pulumi_cli import stack_settings, state
from clients.pulumi_cli.session import Session
from lifecycle.operations.storage_health import storage_problems
from settings.problems import SettingsError
from settings.state_files import JsonRecord

EXPECTED_ERRORS = (OperationError, SettingsError)
"""Errors with a complete message. Of any other error the type is printed too."""


@dataclass(frozen=True, kw_only=True)
class StorageRecord:
    """Longhorn's objects of a cluster, and the time at which they were read."""

    moment: datetime
    storage: Storage


_RECORD: JsonRecord[StorageRecord] = JsonRecord("storage", StorageRecord)
file, load, save = _RECORD.file, _RECORD.load, _RECORD.save


def read_and_record(stack: str, project: Path, kubeconfig: str | None) -> Storage | None:
    """Read the storage of a stack's cluster, and write the record of it for the report.

    ``kubeconfig`` is None if the stack has no cluster. Returns None if the stack has no cluster or
    Longhorn is not installed in it. Raises ``OperationError``.
    """
    storage = read_storage(ClusterApi.of(kubeconfig)) if kubeconfig else None
    if storage:
        with suppress(OSError):  # Only the report needs the record.
            record = StorageRecord(moment=datetime.now(UTC), storage=storage)
            save(project, stack, record)
    return storage


def after_up(session: Session, project: Path) -> None:
    """Print warnings about the cluster's storage, and write the record of it.

    Raises nothing, because the ``up`` itself has succeeded.
    """
    try:
        storage = read_and_record(session.stack, project, state.kubeconfig(session))
        if storage is None:
            return
        settings, now = stack_settings.settings(session), datetime.now(UTC)
        problems = list(storage_problems(storage, settings, now, is_deployed=True))
    except Exception as error:
        reason = (
            str(error) if isinstance(error, EXPECTED_ERRORS) else f"{type(error).__name__}: {error}"
        )
        print(f"The storage was not checked: {reason}. `make doctor` checks it again.", flush=True)
        return
    for problem in problems:
        if problem.severity == "warning":
            print(f"Storage: {problem.subject} {problem.text}\n  -> {problem.fix}", flush=True)
