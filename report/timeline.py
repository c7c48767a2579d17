"""The timeline of the page: the last ``up``, or the rehearsal if no ``up`` was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass

from commands.last_up import LastUp, Operation
from rehearsal import timeline
from rehearsal.record import Recording, Resource
from report.model import Bar, Timeline
from settings import resource_types

MAX_SEPARATE_ROWS = 5
"""Up to this number of similar operations have separate rows. More of them share one row.

Similar operations have the same component, the same type and the same operation (``create``).
"""
SHARED_BAR_HEIGHT, SHARED_BAR_GAP = 3, 1
"""Height of a bar in a shared row, and of the gap between two bars, in pixels."""
SINGLE_BAR_HEIGHT = 12
"""Height of a bar that is alone in its row, in pixels."""


def build_timeline(recording: Recording, last_up: LastUp | None) -> Timeline:
    """Build the timeline of the last ``up``; if ``last_up`` is None, of the rehearsal."""
    if last_up:
        operations = last_up.operations
        recording = _with_times_of_up(recording, last_up)
    else:
        operations = _operations_of_rehearsal(recording)
    changed = {operation.urn for operation in operations}
    path = {it.urn for it in timeline.critical_path(recording) if it.urn in changed}
    by_urn = recording.by_urn()
    bars = tuple(
        _build_bar(operation, by_urn, is_critical=operation.urn in path)
        for operation in operations
        if not _type_of(operation.urn).startswith(resource_types.ANY_PROVIDER)
    )
    return Timeline(
        source="last up" if last_up else "rehearsal",
        begun=last_up.when if last_up else None,
        succeeded=last_up.succeeded if last_up else True,
        seconds=float(last_up.seconds) if last_up else max((it.end for it in bars), default=0.0),
        bars=bars,
    )


def _operations_of_rehearsal(recording: Recording) -> tuple[Operation, ...]:
    """The creation of all resources, with the estimated times."""
    return tuple(
        Operation(
            urn=it.urn, operation="create", start=int(it.start), end=int(it.end), failed=False
        )
        for it in timeline.order_up(recording)
        if it.custom
    )


def _with_times_of_up(recording: Recording, last_up: LastUp) -> Recording:
    """A copy of the recording with the times of the ``up``; 0 for resources it did not change."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for operation in last_up.operations:
        starts[operation.urn] = min(operation.start, starts.get(operation.urn, operation.start))
        ends[operation.urn] = max(operation.end, ends.get(operation.urn, operation.end))
    resources = []
    for resource in map(copy, recording.resources):
        resource.start = float(starts.get(resource.urn, 0))
        resource.end = float(ends.get(resource.urn, 0))
        resources.append(resource)
    return Recording(resources=resources)


def _build_bar(operation: Operation, by_urn: Mapping[str, Resource], *, is_critical: bool) -> Bar:
    return Bar(
        name=operation.urn.rpartition("::")[2],
        component=_component_of(operation.urn, by_urn),
        type=_type_of(operation.urn),
        operation=operation.operation,
        start=float(operation.start),
        end=float(operation.end),
        critical=is_critical,
        failed=operation.failed,
    )


def _component_of(urn: str, by_urn: Mapping[str, Resource]) -> str:
    """The name of the outermost component that a resource belongs to."""
    if urn not in by_urn:
        return "no longer in the program"
    resource, name = by_urn[urn], "stack"
    while resource.parent and resource.parent in by_urn:
        resource = by_urn[resource.parent]
        name = resource.name
    return name


def _type_of(urn: str) -> str:
    """The type in a URN, without the types of its parents."""
    return urn.split("::")[2].rpartition("$")[2]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the timeline, with one bar or several bars below each other."""

    name: str
    operation: str
    bars: tuple[Bar, ...]

    @property
    def start(self) -> float:
        """Start of the first bar, in seconds."""
        return min(bar.start for bar in self.bars)

    @property
    def end(self) -> float:
        """End of the last bar, in seconds."""
        return max(bar.end for bar in self.bars)

    @property
    def critical(self) -> bool:
        """Whether one of the bars is on the critical path."""
        return any(bar.critical for bar in self.bars)

    @property
    def failed(self) -> bool:
        """Whether one of the operations failed."""
        return any(bar.failed for bar in self.bars)

    @property
    def bar_height(self) -> int:
        """Height of each bar, in pixels."""
        return SINGLE_BAR_HEIGHT if len(self.bars) == 1 else SHARED_BAR_HEIGHT

    @property
    def height(self) -> int:
        """Height of the row, in pixels."""
        if len(self.bars) == 1:
            return SINGLE_BAR_HEIGHT
        return len(self.bars) * (SHARED_BAR_HEIGHT + SHARED_BAR_GAP) - SHARED_BAR_GAP


def build_rows(timeline: Timeline) -> tuple[Row, ...]:
    """Build the rows of a timeline, sorted by start."""
    return tuple(sorted(_rows(timeline), key=lambda row: row.start))


def _rows(timeline: Timeline) -> Iterator[Row]:
    kinds: dict[tuple[str, str, str], list[Bar]] = {}
    for bar in timeline.bars:
        kinds.setdefault((bar.component, bar.type, bar.operation), []).append(bar)
    for (component, type_, operation), bars in kinds.items():
        if len(bars) > MAX_SEPARATE_ROWS:
            name = f"{component}: {len(bars)} of type {type_.rpartition(':')[2]}"
            yield Row(name=name, operation=operation, bars=tuple(bars))
        else:
            for bar in bars:
                yield Row(name=bar.name, operation=operation, bars=(bar,))
