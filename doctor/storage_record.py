"""The record of a stack's storage, for the report. It contains no secret.

``make up`` and ``make doctor`` write it each time they have read Longhorn's objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from clients.kubernetes.longhorn import Storage
from settings.project import STATE


@dataclass(frozen=True, kw_only=True)
class StorageRecord:
    """Longhorn's objects of a cluster, and the time at which they were read."""

    moment: datetime
    storage: Storage


_RECORD = TypeAdapter(StorageRecord)


def save(project: Path, stack: str, record: StorageRecord) -> None:
    """Write the record of a stack, and replace the previous record. Raises ``OSError``."""
    path = file(project, stack)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(_RECORD.dump_json(record, indent=1))


def load(project: Path, stack: str) -> StorageRecord | None:
    """Read the record of a stack; None if the file does not exist or cannot be read."""
    try:
        return _RECORD.validate_json(file(project, stack).read_bytes())
    except (OSError, ValueError):
        return None


def file(project: Path, stack: str) -> Path:
    """The path of a stack's record."""
    return project / STATE / f"storage-{stack}.json"
