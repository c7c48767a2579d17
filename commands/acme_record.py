"""Remembers which names Let's Encrypt has signed for a castle, and until when: nothing secret.

A look into the castle tells it (engine/backup.py). The report shows it, and ``up`` sees from it
whether staging has worked.
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
    """A certificate that a castle has had."""

    server: str
    """``staging`` or ``production``."""
    certificate: Certificate


def keep(project: Path, stack: str, signed: Iterable[Signed]) -> None:
    """Add to what is known; of one name and server the newest counts. Raises ``OSError``."""
    known = {(it.server, it.certificate.name): it for it in load(project, stack)}
    known |= {(it.server, it.certificate.name): it for it in signed}
    if not known:
        return  # a record of nothing is only in the way
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
    """What is known; nothing where the record is no record."""
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
    """Where the record of a stack lies."""
    return project / STATE / f"signed-{stack}.json"
