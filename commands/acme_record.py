"""Record of the certificates that Let's Encrypt issued for a stack: names and dates, no secrets.

``commands/backup.py`` reads them from Traefik and writes the record. ``make report`` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backup.acme_json import Certificate
from settings.state_files import JsonRecord


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A certificate that Let's Encrypt has issued for the stack."""

    server: str
    """The issuing server: ``staging`` or ``production``."""
    certificate: Certificate


_RECORD: JsonRecord[list[dict[str, Any]]] = JsonRecord("signed", list[dict[str, Any]])
file = _RECORD.file


def keep(project: Path, stack: str, signed: Iterable[Signed]) -> None:
    """Add ``signed`` to the record of a stack; they replace entries of the same server and name.

    Raises ``OSError``.
    """
    known = {(it.server, it.certificate.name): it for it in (*load(project, stack), *signed)}
    rows = [{"server": it.server, **asdict(it.certificate)} for it in known.values()]
    if rows:  # do not create an empty file
        _RECORD.save(project, stack, rows)


def load(project: Path, stack: str) -> tuple[Signed, ...]:
    """Read the record of a stack; empty if the file is missing or invalid."""
    try:
        return tuple(
            Signed(
                server=row["server"],
                certificate=Certificate(
                    names=tuple(row["names"]),
                    begins=datetime.fromisoformat(row["begins"]),
                    ends=datetime.fromisoformat(row["ends"]),
                ),
            )
            for row in _RECORD.load(project, stack) or ()
        )
    except (ValueError, TypeError, KeyError):
        return ()
