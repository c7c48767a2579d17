"""The engine's event log: one JSON object a line, with all that the engine does and says.

It holds what the program serialised, admin keys in plain text among it: so it is written into the
private folder of the run alone, and nobody keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PULUMI_DEBUG_COMMANDS": "true"}
"""Without it the CLI knows no ``--event-log`` (pulumi pkg/cmd/pulumi/operations/up.go)."""


def flags(folder: Path, name: str = "events") -> list[str]:
    """Flags that let the CLI write its events into ``folder``, which must be private.

    ``name`` keeps the logs of two commands of one run apart.
    """
    return ["--event-log", str(_file(folder, name))]


def text(folder: Path, name: str = "events") -> str:
    """What was written; empty if the command ended before it began."""
    log = _file(folder, name)
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""


def read(log: str) -> Iterator[dict[str, Any]]:
    """The events; the last line of a run that was killed may be none."""
    for line in log.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "timestamp" in event:
            yield event


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl"
