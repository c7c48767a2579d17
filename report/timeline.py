"""The timeline as it is shown: of the last ``up``, else of the rehearsal."""

from __future__ import annotations

from copy import copy

from commands.last_up import LastUp, Operation
from rehearsal import timeline
from rehearsal.record import Recording, Resource
from report import model
from report.graph import PROVIDER, component_of


def of(recording: Recording, last_up: LastUp | None) -> tuple[model.Timeline, tuple[str, ...]]:
    """The timeline, and the URNs on its critical path, first to last."""
    return _of_up(recording, last_up) if last_up else _of_rehearsal(recording)


def _of_rehearsal(recording: Recording) -> tuple[model.Timeline, tuple[str, ...]]:
    path = tuple(resource.urn for resource in timeline.critical_path(recording))
    known = recording.by_urn()
    bars = tuple(
        model.Bar(
            name=resource.name,
            component=component_of(resource, known),
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


def _of_up(recording: Recording, last_up: LastUp) -> tuple[model.Timeline, tuple[str, ...]]:
    seen = _as_it_was(recording, last_up)
    known = seen.by_urn()
    touched = {operation.urn for operation in last_up.operations}
    path = tuple(r.urn for r in timeline.critical_path(seen) if r.urn in touched)
    bars = tuple(
        _bar(operation, known, path)
        for operation in last_up.operations
        if not _type(operation.urn).startswith(PROVIDER)
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


def _as_it_was(recording: Recording, last_up: LastUp) -> Recording:
    """The graph of the rehearsal with the times of the ``up``; 0 for what it did not touch."""
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


def _bar(operation: Operation, known: dict[str, Resource], path: tuple[str, ...]) -> model.Bar:
    """A bar; what the program no longer has is known by its URN alone."""
    resource = known.get(operation.urn)
    return model.Bar(
        name=operation.urn.rpartition("::")[2],
        component=component_of(resource, known) if resource else "gone since",
        type=_type(operation.urn),
        operation=operation.operation,
        start=float(operation.start),
        end=float(operation.end),
        critical=operation.urn in path,
        failed=operation.failed,
    )


def _type(urn: str) -> str:
    """The type in a URN, without those of its parents."""
    return urn.split("::")[2].rpartition("$")[2]
