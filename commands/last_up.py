"""Keeps when each resource began and ended in the last ``up`` that changed something.

Nothing but names, words and times is taken out of the engine's event log.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clients.pulumi_cli import event_log
from settings.project import STATE

_CHANGES = frozenset(
    {"create", "update", "delete", "create-replacement", "delete-replaced", "import"}
)
"""The engine's words for what takes time; the others only look, or mark what these do."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What the engine did to one resource."""

    urn: str
    operation: str
    """The engine's word: ``create``, ``update`` ..."""
    start: int
    """Whole seconds from the beginning: the engine tells no more."""
    end: int
    failed: bool


@dataclass(frozen=True, kw_only=True)
class LastUp:
    """The last ``up`` that changed something."""

    begun: int
    """Seconds since 1970."""
    seconds: int
    succeeded: bool
    operations: tuple[Operation, ...]
    settled: bool = False
    """Whether what it left undone was seen to since."""

    @property
    def when(self) -> datetime:
        """The moment when it began."""
        return datetime.fromtimestamp(self.begun, UTC)


def keep(log: str, project: Path, stack: str) -> None:
    """Take the times out of an event log, and keep them for this stack.

    An ``up`` that changed nothing, or ended before it began, leaves what is kept as it is. Raises
    nothing: by now the castle stands, and that counts. What goes wrong is told in one line.
    """
    try:
        if found := distil(log):
            record = file(project, stack)
            record.parent.mkdir(mode=0o700, exist_ok=True)
            record.write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        with suppress(OSError):  # nobody may be listening any more
            print(f"The times of this run could not be kept for `make report`: {error}", flush=True)


def load(project: Path, stack: str) -> LastUp | None:
    """The last ``up`` of a stack; ``None`` where there was none, or its record is no record."""
    try:
        found = json.loads(file(project, stack).read_text(encoding="utf-8"))
        operations = tuple(Operation(**operation) for operation in found.pop("operations"))
        return LastUp(operations=operations, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def settle(project: Path, stack: str) -> None:
    """Note that what the last ``up`` of a stack left undone was seen to, if it left anything."""
    last = load(project, stack)
    if last is not None and not (last.succeeded or last.settled):
        record = asdict(replace(last, settled=True))
        file(project, stack).write_text(json.dumps(record, indent=1), encoding="utf-8")


def file(project: Path, stack: str) -> Path:
    """Where the record of a stack lies."""
    return project / STATE / f"last-up-{stack}.json"


def distil(log: str) -> LastUp | None:
    """Names, words and times of an event log; ``None`` where nothing was changed."""
    begun = last = 0
    succeeded = False
    open_: dict[tuple[str, str], int] = {}
    done: list[Operation] = []
    for event in event_log.read(log):
        last = event["timestamp"]
        begun = begun or last
        if summary := event.get("summaryEvent"):
            succeeded = summary.get("result") == "succeeded"
        for kind in ("resourcePreEvent", "resOutputsEvent", "resOpFailedEvent"):
            if not (happened := event.get(kind)) or happened.get("planning"):
                continue
            metadata = happened["metadata"]
            key = (metadata["urn"], metadata["op"])
            if metadata["op"] not in _CHANGES or not _is_custom(metadata):
                continue
            if kind == "resourcePreEvent":
                open_[key] = last
            else:
                failed = kind == "resOpFailedEvent"
                done.append(_operation(key, open_.pop(key, last), last, begun, failed))
    # What never ended was cut off.
    done += [_operation(key, start, last, begun, True) for key, start in open_.items()]
    if not done:
        return None
    operations = tuple(sorted(done, key=lambda operation: operation.start))
    return LastUp(begun=begun, seconds=last - begun, succeeded=succeeded, operations=operations)


def _is_custom(metadata: dict[str, Any]) -> bool:
    state = metadata.get("new") or metadata.get("old") or {}
    return bool(state.get("custom"))


def _operation(key: tuple[str, str], start: int, end: int, begun: int, failed: bool) -> Operation:
    return Operation(
        urn=key[0], operation=key[1], start=start - begun, end=end - begun, failed=failed
    )
