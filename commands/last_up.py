"""Record of the last ``up`` that changed something: start and end of each resource operation.

Only URNs, operations and times are taken from the engine's event log, because the log contains
secrets.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clients.pulumi_cli import event_log
from settings.state_files import JsonRecord

_CHANGES = frozenset(
    {"create", "update", "delete", "create-replacement", "delete-replaced", "import"}
)
"""Engine operations that take time. The others only read, or mark a replacement ("replace")."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the engine on one resource."""

    urn: str
    operation: str
    """The engine's name of the operation: ``create``, ``update`` ..."""
    start: int
    """Whole seconds since the start of the ``up``; the event log has no finer resolution."""
    end: int
    """Whole seconds since the start of the ``up``."""
    failed: bool


@dataclass(frozen=True, kw_only=True)
class LastUp:
    """The last ``up`` that changed something."""

    begun: int
    """Start of the ``up``, in seconds since 1970."""
    seconds: int
    """Duration of the ``up``."""
    succeeded: bool
    operations: tuple[Operation, ...]
    settled: bool = False
    """Whether a later run has dealt with the failure of this ``up``."""

    @property
    def when(self) -> datetime:
        """Start of the ``up``, in UTC."""
        return datetime.fromtimestamp(self.begun, UTC)


_RECORD: JsonRecord[LastUp] = JsonRecord("last-up", LastUp)
file, load = _RECORD.file, _RECORD.load


def save_record(log: str, project: Path, stack: str) -> None:
    """Save the operations of an event log as the record of this stack.

    The record is not changed if the ``up`` changed nothing. Raises nothing, because the record must
    not fail the ``up``; errors are printed in one line.
    """
    try:
        if found := parse_log(log):
            _RECORD.save(project, stack, found)
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        with suppress(OSError):  # print fails if standard output is closed
            print(f"The operation times for `make report` could not be saved: {error}", flush=True)


def mark_settled(project: Path, stack: str) -> None:
    """If the last ``up`` of a stack failed, record that its failure has been dealt with."""
    last = load(project, stack)
    if last is not None and not (last.succeeded or last.settled):
        _RECORD.save(project, stack, replace(last, settled=True))


def parse_log(log: str) -> LastUp | None:
    """Extract the operations from an event log; ``None`` if nothing was changed."""
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
            if not (details := event.get(kind)) or details.get("planning"):
                continue
            metadata = details["metadata"]
            key = (metadata["urn"], metadata["op"])
            if metadata["op"] not in _CHANGES or not _is_custom(metadata):
                continue
            if kind == "resourcePreEvent":
                open_[key] = last
            else:
                failed = kind == "resOpFailedEvent"
                done.append(_operation(key, open_.pop(key, last), last, begun, failed))
    # An operation without an end event was interrupted: count it as failed.
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
