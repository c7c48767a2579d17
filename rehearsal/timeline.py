"""Estimated start and end of each resource in an ``up``, and the critical path."""

from __future__ import annotations

from rehearsal.record import Recording, Resource, needs
from settings import resource_types

_DURATIONS_S = {
    resource_types.SCHEMATIC: 2,
    resource_types.FILE: 60,
    resource_types.MACHINE_POOL: 1,
    resource_types.MACHINE: 40,
    resource_types.APPLY: 20,
    resource_types.BOOTSTRAP: 15,
    resource_types.READY: 120,
    resource_types.NAMESPACE: 1,
    resource_types.CLAIM: 20,
    "kubernetes:core/v1:Service": 10,
    "kubernetes:apps/v1:Deployment": 15,
    resource_types.POOL: 2,
    resource_types.ADVERTISEMENT: 2,
    "kubernetes:longhorn.io/v1beta2:RecurringJob": 2,
    "kubernetes:traefik.io/v1alpha1:IngressRoute": 2,
    resource_types.STORAGE: 20,
    resource_types.FLUX_READY: 20,
}
"""By resource type: estimated seconds to create one resource. Types that are missing take 0 s."""

_RELEASE_DURATIONS_S = {"longhorn": 180, "metallb": 60, "traefik": 45}
"""By Helm release: estimated seconds to install it."""


def seconds(resource: Resource) -> int:
    """Return the estimated seconds that Pulumi needs to create a resource on ordinary hardware."""
    if resource.type == resource_types.RELEASE:
        return _RELEASE_DURATIONS_S.get(str(resource.plain("name")), 60)
    return _DURATIONS_S.get(resource.type, 0)


def lay_out(recording: Recording) -> None:
    """Set the estimated start and end of each resource. A component spans its children."""
    known = recording.by_urn()
    for resource in recording.resources:
        # Registration order is topological: a resource registers after its inputs are resolved.
        ends = [known[urn].end for urn in needs(resource) if urn in known]
        resource.start = float(max(ends, default=0))
        resource.end = resource.start + seconds(resource)
    for component in reversed(recording.resources):
        if not component.custom:
            children = [r for r in recording.resources if r.parent == component.urn]
            component.start = min((child.start for child in children), default=component.start)
            component.end = max((child.end for child in children), default=component.end)


def order_up(recording: Recording) -> list[Resource]:
    """Return all resources in the order in which an ``up`` starts to create them."""
    return sorted(recording.resources, key=lambda resource: resource.start)


def order_down(recording: Recording) -> list[Resource]:
    """Return all resources in the order in which a ``destroy`` deletes them."""
    return order_up(recording)[::-1]


def critical_path(recording: Recording) -> list[Resource]:
    """Return the chain of resources that determines the duration of an ``up``, first to last."""
    known = recording.by_urn()
    last = max((r for r in recording.resources if r.custom), key=lambda r: r.end, default=None)
    path: list[Resource] = []
    while last is not None:
        path.append(last)
        before = [known[urn] for urn in sorted(needs(last)) if urn in known]
        last = max(before, key=lambda r: (r.end, r.start), default=None)
    return path[::-1]
