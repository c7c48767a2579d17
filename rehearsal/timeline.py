"""When each resource would begin and end, by nominal durations, and the path that decides."""

from __future__ import annotations

from rehearsal.record import Recording, Resource, needs

_SECONDS = {
    "talos:imageFactory/schematic:Schematic": 2,
    "proxmoxve:download/file:File": 60,
    "proxmoxve:index/poolLegacy:PoolLegacy": 1,
    "proxmoxve:index/vmLegacy:VmLegacy": 40,
    "talos:machine/configurationApply:ConfigurationApply": 20,
    "pulumi-python:dynamic/ephemeral-castle:Bootstrap": 15,
    "pulumi-python:dynamic/ephemeral-castle:ClusterReadiness": 120,
    "kubernetes:core/v1:Namespace": 1,
    "kubernetes:core/v1:PersistentVolumeClaim": 20,
    "kubernetes:core/v1:Service": 10,
    "kubernetes:apps/v1:Deployment": 15,
    "kubernetes:metallb.io/v1beta1:IPAddressPool": 2,
    "kubernetes:metallb.io/v1beta1:L2Advertisement": 2,
    "kubernetes:longhorn.io/v1beta2:RecurringJob": 2,
    "kubernetes:traefik.io/v1alpha1:IngressRoute": 2,
    "pulumi-python:dynamic/ephemeral-castle:LonghornStorage": 20,
    "pulumi-python:dynamic/ephemeral-castle:FluxReady": 20,
}
_RELEASE_SECONDS = {"longhorn": 180, "metallb": 60, "traefik": 45}


def seconds(resource: Resource) -> int:
    """How long a resource takes on ordinary hardware: a rule of thumb, not a promise."""
    if resource.type == "kubernetes:helm.sh/v3:Release":
        return _RELEASE_SECONDS.get(str(resource.plain("name")), 60)
    return _SECONDS.get(resource.type, 0)


def lay_out(recording: Recording) -> None:
    """Give every resource its nominal start and end. Components span their children."""
    known = recording.by_urn()
    for resource in recording.resources:
        # Registration order is a topological one: a resource registers once its inputs resolve.
        waits = [known[urn].end for urn in needs(resource) if urn in known]
        resource.start = float(max(waits, default=0))
        resource.end = resource.start + seconds(resource)
    for component in reversed(recording.resources):
        if not component.custom:
            children = [r for r in recording.resources if r.parent == component.urn]
            component.start = min((child.start for child in children), default=component.start)
            component.end = max((child.end for child in children), default=component.end)


def order_up(recording: Recording) -> list[Resource]:
    """Every resource in the order in which an ``up`` begins it."""
    return sorted(recording.resources, key=lambda resource: resource.start)


def order_down(recording: Recording) -> list[Resource]:
    """Every resource in the order in which a ``destroy`` takes it away."""
    return order_up(recording)[::-1]


def critical_path(recording: Recording) -> list[Resource]:
    """The resources that decide how long an ``up`` takes, first to last."""
    known = recording.by_urn()
    last = max((r for r in recording.resources if r.custom), key=lambda r: r.end, default=None)
    path: list[Resource] = []
    while last is not None:
        path.append(last)
        before = [known[urn] for urn in sorted(needs(last)) if urn in known]
        last = max(before, key=lambda r: (r.end, r.start), default=None)
    return path[::-1]
