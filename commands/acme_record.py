"""Record of the certificates that Let's Encrypt issued for a stack: names and dates, no secrets.

``commands/backup.py`` reads them from Traefik and writes the record. ``make report`` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.acme_json import Certificate
from settings.project import STATE


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A certificate that Let's Encrypt has issued for the stack."""

    server: str
    """The issuing server: ``staging`` or ``production``."""
    certificate: Certificate


def keep(project: Path, stack: str, signed: Iterable[Signed]) -> None:
    """Add ``signed`` to the record of a stack; they replace entries of the same server and name.

    Raises ``OSError``.
    """
    known = {(it.server, it.certificate.name): it for it in load(project, stack)}
    known |= {(it.server, it.certificate.name): it for it in signed}
    if not known:
        return  # do not create an empty file
    rows = [
        {
            "server": it.server,
            "names": it.certificate.names,
            "begins": it.certificate.begins.isoformat(),
            "ends": it.certificate.ends.isoformat(),
        }
        for it in known.values()
    ]
    record = file(project, stack)
    record.parent.mkdir(mode=0o700, exist_ok=True)
    record.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def load(project: Path, stack: str) -> tuple[Signed, ...]:
    """Read the record of a stack; empty if the file is missing or invalid."""
    try:
        rows = json.loads(file(project, stack).read_text(encoding="utf-8"))
        return tuple(
            Signed(
                server=row["server"],
                certificate=Certificate(
                    names=tuple(row["names"]),
                    begins=datetime.fromisoformat(row["begins"]),
                    ends=datetime.fromisoformat(row["ends"]),
                ),
            )
            for row in rows
        )
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def file(project: Path, stack: str) -> Path:
    """Return the path of a stack's record."""
    return project / STATE / f"signed-{stack}.json"
