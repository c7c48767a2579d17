"""Where a replica may lie, and which replica is one too many.

After v1.12.1 scheduler/replica_scheduler.go (getDiskCandidates, IsSchedulableToDisk) and
controller/volume_controller.go (getReplicaCountForAutoBalanceZone, cleanupAutoBalancedReplicas).
Never two replicas of a volume on one node, which is Longhorn's default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from .objects import Thing, holds
from .settings import Settings


@dataclasses.dataclass(kw_only=True)
class Disk:
    """A disk that takes replicas, with its figures in bytes."""

    node: str
    zone: str
    uuid: str
    path: str
    maximum: int
    available: int
    reserved: int
    scheduled: int

    @property
    def unscheduled(self) -> int:
        """Bytes that neither are reserved nor belong to a replica."""
        return self.maximum - self.reserved - self.scheduled

    def refusal(self, size: int, required: int, settings: Settings) -> str:
        """Why a replica of a size finds no place, of which ``required`` bytes are used at once;
        empty if it does (IsSchedulableToDisk)."""
        if self.maximum <= 0:
            return "Storage Max must be greater than 0"
        if self.available <= 0:
            return "Storage Available must be greater than 0"
        percentage = settings.storage_minimal_available_percentage
        available, minimal = self.available - required, int(self.maximum * percentage / 100)
        if available <= minimal:
            return (
                f"Actual space usage condition failed: CurrentAvailable = {available} "
                "(StorageAvailable - Required) is less than or equal to "
                f"MinimalAvailable = {minimal} ({percentage}% of Storage Max)."
            )
        percentage = settings.storage_over_provisioning_percentage
        scheduled = size + self.scheduled
        limit = int((self.maximum - self.reserved) * percentage / 100)
        if scheduled > limit:
            return (
                f"Scheduling space condition failed: ScheduledTotal = {scheduled} "
                f"(Size + StorageScheduled) is greater than ProvisionedLimit = {limit} "
                f"({percentage}% of StorageMax - StorageReserved)."
            )
        return ""


def actual_size(size: int) -> int:
    """Bytes that a replica takes of its disk: here always a twentieth of the volume's size."""
    return size // 20


def zone_of(node: Thing) -> str:
    """The zone of one of Longhorn's nodes; nodes without one are in one zone together."""
    return str(node.get("status", {}).get("zone", ""))


def takes_replicas(node: Thing) -> bool:
    """Whether a node is ready and takes new replicas (ListSchedulableNodes)."""
    status = node.get("status", {})
    allowed = bool(node["spec"].get("allowScheduling"))
    return allowed and holds(status, "Ready") and holds(status, "Schedulable")


def open_disks(nodes: Iterable[Thing]) -> list[Disk]:
    """The disks that take new replicas."""
    return [
        disk_of(node, name)
        for node in nodes
        if takes_replicas(node)
        for name, status in (node["status"].get("diskStatus") or {}).items()
        if name in node["spec"]["disks"]
        and node["spec"]["disks"][name]["allowScheduling"]
        and not node["spec"]["disks"][name]["evictionRequested"]
        and holds(status, "Schedulable")
    ]


def disk_of(node: Thing, name: str) -> Disk:
    """One disk of a node."""
    spec, status = node["spec"]["disks"][name], node["status"]["diskStatus"][name]
    return Disk(
        node=node["metadata"]["name"],
        zone=zone_of(node),
        uuid=status["diskUUID"],
        path=spec["path"],
        maximum=status["storageMaximum"],
        available=status["storageAvailable"],
        reserved=spec["storageReserved"],
        scheduled=status["storageScheduled"],
    )


def choose_disk(
    disks: Iterable[Disk],
    used_nodes: Collection[str],
    used_zones: Collection[str],
    *,
    size: int,
    required: int,
    settings: Settings,
) -> Disk | None:
    """The disk for another replica: in an unused zone, or else in any if the settings allow it.

    Of several, the one with the most unscheduled bytes.
    """
    free = [
        disk
        for disk in disks
        if disk.node not in used_nodes and not disk.refusal(size, required, settings)
    ]
    found = [disk for disk in free if disk.zone not in used_zones]
    if not found and settings.replica_zone_soft_anti_affinity:
        found = free
    return min(found, key=lambda disk: (-disk.unscheduled, disk.node), default=None)


def missing_zones(
    disks: Iterable[Disk],
    used_zones: Collection[str],
    *,
    number: int,
    size: int,
    required: int,
    settings: Settings,
) -> int:
    """How many replicas another zone would take: as many as lie twice in one, at most."""
    zones = {disk.zone for disk in disks if not disk.refusal(size, required, settings)}
    return max(0, min(number - len(set(used_zones)), len(zones - set(used_zones))))


def choose_surplus(
    replicas: Sequence[Thing], nodes: Mapping[str, Thing], available: Mapping[str, int]
) -> Thing:
    """The replica to remove of too many: of those in the zone with most, on the fullest disk.

    ``available`` has the bytes that are free, by a disk's UUID.
    """
    zones: dict[str, list[Thing]] = {}
    for replica in replicas:
        node = nodes.get(replica["spec"]["nodeID"], {})
        zones.setdefault(zone_of(node), []).append(replica)
    fullest = max(zones.values(), key=len)
    candidates = fullest if len(fullest) > 1 else replicas
    return min(
        candidates,
        key=lambda it: (available.get(it["spec"]["diskID"], 0), it["metadata"]["name"]),
    )
