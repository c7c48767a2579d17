"""The timeline of the page: the last ``up``, or the rehearsal if no ``up`` was recorded."""

from __future__ import annotations

from copy import copy

from commands.last_up import LastUp, Operation
from rehearsal import timeline
from rehearsal.record import Recording, Resource
from report import model
from report.graph import PROVIDER, component_of


def of(recording: Recording, last_up: LastUp | None) -> tuple[model.Timeline, tuple[str, ...]]:
    """Build the timeline; return it, and the URNs on its critical path from first to last."""
    return _timeline_of_up(recording, last_up) if last_up else _timeline_of_rehearsal(recording)


def _timeline_of_rehearsal(recording: Recording) -> tuple[model.Timeline, tuple[str, ...]]:
    path = tuple(resource.urn for resource in timeline.critical_path(recording))
    by_urn = recording.by_urn()
    bars = tuple(
        model.Bar(
            name=resource.name,
            component=component_of(resource, by_urn),
            type=resource.type,
            operation="create",
            start=resource.start,
            end=resource.end,
            critical=resource.urn in path,
        )
        for resource in timeline.order_up(recording)
        if resource.custom and not resource.type.startswith(PROVIDER)
    )
    seconds = max((bar.end for bar in bars), default=0.0)
    return (
        model.Timeline(source="rehearsal", begun=None, succeeded=True, seconds=seconds, bars=bars),
        path,
    )


def _timeline_of_up(
    recording: Recording, last_up: LastUp
) -> tuple[model.Timeline, tuple[str, ...]]:
    timed = _with_times_of_up(recording, last_up)
    by_urn = timed.by_urn()
    changed = {operation.urn for operation in last_up.operations}
    path = tuple(r.urn for r in timeline.critical_path(timed) if r.urn in changed)
    bars = tuple(
        _build_bar(operation, by_urn, path)
        for operation in last_up.operations
        if not _type_of(operation.urn).startswith(PROVIDER)
    )
    return (
        model.Timeline(
            source="last up",
            begun=last_up.when,
            succeeded=last_up.succeeded,
            seconds=float(last_up.seconds),
            bars=bars,
        ),
        path,
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


def _build_bar(
    operation: Operation, by_urn: dict[str, Resource], path: tuple[str, ...]
) -> model.Bar:
    # A resource that the program no longer has is not in `by_urn`: only its URN is known.
    resource = by_urn.get(operation.urn)
    return model.Bar(
        name=operation.urn.rpartition("::")[2],
        component=component_of(resource, by_urn) if resource else "no longer in the program",
        type=_type_of(operation.urn),
        operation=operation.operation,
        start=float(operation.start),
        end=float(operation.end),
        critical=operation.urn in path,
        failed=operation.failed,
    )


def _type_of(urn: str) -> str:
    """The type in a URN, without the types of its parents."""
    return urn.split("::")[2].rpartition("$")[2]
