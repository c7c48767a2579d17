"""Pulumi's event log: one JSON object per line for each event and message.

It contains secrets in plain text. So it is written only into the private folder of a run, which is
deleted with the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PULUMI_DEBUG_COMMANDS": "true"}
"""Enables the flag ``--event-log`` (pulumi pkg/cmd/pulumi/operations/up.go)."""


def flags(folder: Path, name: str = "events") -> list[str]:
    """Flags with which the CLI writes its events into ``folder``, which must be private.

    ``name`` distinguishes the logs of two commands of one run.
    """
    return ["--event-log", str(_file(folder, name))]


def text(folder: Path, name: str = "events") -> str:
    """The content of the log; empty if the CLI did not create it."""
    log = _file(folder, name)
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""


def read(log: str) -> Iterator[dict[str, Any]]:
    """Parse the events. Skips invalid lines, such as the last line of a run that was killed."""
    for line in log.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "timestamp" in event:
            yield event


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl"
