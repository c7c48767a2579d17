"""Finds problems of Longhorn's disks, volumes and backups, each with a text and a fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from clients.kubernetes.longhorn import (
    DATA_PATH,
    STORAGE_CLASS,
    BackupVolume,
    Disk,
    Storage,
    Volume,
)
from settings.schedule import longest_gap
from settings.storage import MINIMAL_AVAILABLE_PERCENT, capacity_gib
from settings.wording import count

if TYPE_CHECKING:
    from settings.models import Settings

GIB = 1024**3
"""Bytes of one GiB."""
NEARLY_FULL_PERCENT = MINIMAL_AVAILABLE_PERCENT + 5
"""A disk with less free space than this percentage is nearly full."""
MOST_NAMES = 5
"""Maximum number of volumes that one problem names."""

Severity = Literal["warning", "note"]


@dataclass(frozen=True, kw_only=True)
class StorageProblem:
    """A problem that a person should check."""

    subject: str
    """A node, a volume or the backup target."""
    text: str
    """The problem, as the rest of a sentence after ``subject``."""
    fix: str
    """What to do."""
    severity: Severity = "warning"
    """``warning``: data is at risk now or soon. ``note``: for information."""
    is_lasting: bool = False
    """Whether a person must act. All other problems may disappear by themselves."""

    def __str__(self) -> str:
        return f"{self.subject} {self.text}. Fix: {self.fix}."


def storage_problems(
    storage: Storage, settings: Settings, now: datetime, *, is_deployed: bool
) -> Iterator[StorageProblem]:
    """All problems of a cluster's storage, compared with the settings of its stack.

    ``is_deployed``: an ``up`` with these settings has succeeded. Otherwise the next ``up`` may add
    or remove nodes, so only nodes that are both in the settings and in Longhorn are checked.
    """
    wanted, disks = data_disks(settings), storage.disks
    if not is_deployed:
        names = {node.name for node in settings.machines}
        wanted = {name: size for name, size in wanted.items() if name in storage.nodes}
        disks = [disk for disk in disks if disk.node in names]
    yield from disk_problems(disks, wanted)
    yield from full_disk_problems(storage.disks)
    yield from copy_problems(storage, settings.replicas)
    yield from engine_problems(storage)
    yield from target_problems(storage, settings)
    yield from backup_problems(storage, settings, now)
    yield from released_problems(storage)


def data_disks(settings: Settings) -> dict[str, int]:
    """Size of each data disk in GiB, by node name."""
    return {it.name: it.data_disk_gib for it in settings.machines if it.data_disk_gib is not None}


def disk_problems(disks: Sequence[Disk], wanted: Mapping[str, int]) -> Iterator[StorageProblem]:
    """Problems of the disk of each node.

    ``wanted`` is the size of the data disk in GiB by node name. All other nodes must have no disk
    in Longhorn.
    """
    for node, size_gib in wanted.items():
        own = [disk for disk in disks if disk.node == node]
        if problem := _disk_problem(node, own, size_gib):
            yield problem
    for disk in disks:
        if disk.node not in wanted:
            yield StorageProblem(
                subject=disk.node,
                text=f"has no data disk, but Longhorn stores data at {disk.path} on its OS disk",
                fix="in Longhorn's interface (Node) disable scheduling on this disk, request the "
                "eviction of its replicas, then remove it",
                is_lasting=True,
            )


def _disk_problem(node: str, disks: Sequence[Disk], size_gib: int) -> StorageProblem | None:
    found = next((disk for disk in disks if disk.path == DATA_PATH), None)
    others = ", ".join(sorted(disk.path for disk in disks if disk.path != DATA_PATH))
    if found is None and others:
        return StorageProblem(
            subject=node,
            text=f"stores Longhorn's data at {others}, which is on its OS disk: the data disk of "
            f"{size_gib} GiB is at {DATA_PATH}",
            fix=f"in Longhorn's interface (Node) add the disk {DATA_PATH}, request the eviction of "
            "the replicas on the other disk, and remove the other disk when it is empty",
            is_lasting=True,
        )
    if found is None:
        return StorageProblem(
            subject=node,
            text=f"has no disk in Longhorn yet, although it has a data disk of {size_gib} GiB",
            fix=f"check `kubectl -n longhorn-system get nodes.longhorn.io {node} -o yaml`, and "
            "check that the longhorn-manager pod of this node runs",
        )
    if not found.size:
        return StorageProblem(
            subject=node,
            text=f"does not report the size of its disk {DATA_PATH} yet"
            + (f": {found.reason}" if found.reason else ""),
            fix=f"check `{talosctl_command(node, 'get volumestatus u-longhorn')}`",
        )
    # An OS disk of the same size differs by more, because its partitions need 1 GiB or more.
    tolerance = max(0.5, size_gib / 100)
    if abs(found.size / GIB - capacity_gib(size_gib)) > tolerance:
        return StorageProblem(
            subject=node,
            text=f"stores Longhorn's data on a filesystem of {found.size / GIB:.1f} GiB, but its "
            f"data disk has {size_gib} GiB: either {DATA_PATH} is not the data disk, so the data "
            "is on the OS disk, or Talos has not grown the filesystem to the size of the disk",
            fix="check why Talos did not mount the data disk "
            f"(`{talosctl_command(node, 'get volumestatus u-longhorn')}`), reboot the node, and "
            "run `make up` again",
            is_lasting=found.is_ready,
        )
    if not found.is_ready:
        return StorageProblem(
            subject=node,
            text=f"has a disk that Longhorn cannot use: {found.reason or 'it is not ready'}",
            fix=f"check `kubectl -n longhorn-system describe nodes.longhorn.io {node}`. If "
            "Longhorn used this path before the data disk was mounted there (`record diskUUID "
            "doesn't match`) and has no copy on it, then disable scheduling on this disk in "
            "Longhorn's interface (Node) and delete the disk: Longhorn adds it again",
        )
    return None


def talosctl_command(node: str, arguments: str) -> str:
    """A shell command that runs ``talosctl`` for a node, with the address that Kubernetes knows.

    A control plane, which forwards the request, looks the node up in the DNS of the network, and
    that does not know the names of nodes.
    """
    path = '{.status.addresses[?(@.type=="InternalIP")].address}'
    return f"talosctl -n $(kubectl get node {node} -o jsonpath='{path}') {arguments}"


def full_disk_problems(disks: Sequence[Disk]) -> Iterator[StorageProblem]:
    """Disks on which Longhorn places no new copies, now or soon."""
    fix = (
        "delete data or volumes that nobody needs, or increase data_disk_gib of the node in the "
        "stack file and run `make up`"
    )
    for disk in disks:
        if not disk.is_ready or not disk.size:
            continue
        free = f"{gib(disk.available)} of {gib(disk.size)} are free"
        if not disk.is_schedulable:
            reason = disk.reason or "Longhorn gives no reason"
            yield StorageProblem(
                subject=disk.node, text=f"takes no new copies ({free}): {reason}", fix=fix
            )
        elif disk.available * 100 < NEARLY_FULL_PERCENT * disk.size:
            yield StorageProblem(
                subject=disk.node,
                text=f"has a nearly full disk: {free}; Longhorn places no new copies on it at "
                f"{MINIMAL_AVAILABLE_PERCENT} % or less",
                fix=fix,
            )


def copy_problems(storage: Storage, replicas: int) -> Iterator[StorageProblem]:
    """Volumes with too few healthy copies, with all copies on one Proxmox host, or with another
    number of copies than ``replicas`` (``longhorn.replicas``)."""
    hosts = {disk.zone for disk in storage.disks if disk.zone}
    for volume in storage.volumes:
        healthy = len(volume.healthy_nodes)
        if volume.robustness == "faulted":
            yield StorageProblem(
                subject=volume.title,
                text="has no healthy copy: pods cannot use it",
                fix="start the nodes that hold its copies (Longhorn's interface, Volume); if they "
                "are lost, restore the volume from a backup (Backup and Restore)",
            )
        elif volume.is_attached and healthy < volume.copies:
            yield StorageProblem(
                subject=volume.title,
                text=f"has {count(healthy, 'healthy copy', 'healthy copies')} of {volume.copies}",
                fix="Longhorn rebuilds copies by itself if enough nodes have space; if this stays, "
                f"check `kubectl -n longhorn-system describe volumes.longhorn.io {volume.name}`",
            )
        elif volume.copies > 1 and healthy > 1 and len(hosts) > 1 and len(volume.zones) == 1:
            (host,) = volume.zones
            if host:
                yield StorageProblem(
                    subject=volume.title,
                    text=f"has all of its {healthy} copies on the Proxmox host {host}: if that "
                    "host fails, the volume is gone",
                    fix="Longhorn moves a copy to another host by itself while the volume is "
                    "attached; if this stays, check in its interface that a disk on another host "
                    "has space and is schedulable (Node), and that Replica Auto Balance of the "
                    "volume is not disabled (Volume)",
                )
    others = [
        it for it in _used(storage) if it.storage_class == STORAGE_CLASS and it.copies != replicas
    ]
    if others:
        numbers = ", ".join(f"{it.title} ({it.copies})" for it in others[:MOST_NAMES])
        yield StorageProblem(
            subject=count(len(others), "volume"),
            text=f"{_have(others)} another number of copies than the stack's {replicas}: "
            f"{numbers}{_more(others)}",
            fix="run `make replicas` to change them; the number of the stack applies only to new "
            "volumes",
            severity="note",
        )


def engine_problems(storage: Storage) -> Iterator[StorageProblem]:
    """Volumes that run the engine of an older Longhorn."""
    wanted, old = storage.engine_image, storage.outdated
    if not old:
        return
    images = ", ".join(sorted({it.engine_image for it in old}))
    yield StorageProblem(
        subject=count(len(old), "volume"),
        text=f"{'runs' if len(old) == 1 else 'run'} with an old engine ({images}): {_names(old)}",
        # longhorn-manager v1.12.1 upgrade/util/util.go checkEngineUpgradePath
        fix=f"in Longhorn's interface (Volume) upgrade the engine to {wanted} before the next "
        "minor version of Longhorn: a Longhorn whose minimum engine API version is above that of "
        "an engine in use refuses to start",
    )


def target_problems(storage: Storage, settings: Settings) -> Iterator[StorageProblem]:
    """A backup target that is missing or unavailable."""
    target, backup = storage.target, settings.longhorn.backup
    if target is None or not target.url:
        if backup:
            yield StorageProblem(
                subject="backup target",
                text=f"is not set in Longhorn, although longhorn.backup.target is {backup.target}",
                fix="run `make up`; if this stays, enter it in Longhorn's interface (Setting, "
                "Backup Target)",
            )
    elif not target.is_available:
        yield StorageProblem(
            subject="backup target",
            text=f"{target.url} is not available: {target.reason or 'Longhorn gives no reason'}",
            fix="check that the server is up, and that it exports this path to the nodes (NFS) or "
            "accepts the account of the group s3; until then no volume is backed up",
        )


def backup_problems(
    storage: Storage, settings: Settings, now: datetime
) -> Iterator[StorageProblem]:
    """Volumes without a recent backup, and backups that no retention of this cluster deletes."""
    backup = settings.longhorn.backup
    interval = longest_gap(backup.schedule) if backup else None
    if interval:
        yield from _late_backups(storage, 2 * interval, now)
    if foreign := foreign_backups(storage):
        stored = gib(sum(it.stored for it in foreign))
        yield StorageProblem(
            subject="backup target",
            text=f"holds backups of {count(len(foreign), 'volume')} that this cluster does not "
            f"have ({stored}): of a former cluster, of another stack with the same target, or of "
            "volumes that were deleted",
            fix="no retention of this cluster deletes them; if nobody needs them, delete them in "
            "Longhorn's interface (Backup and Restore)",
            severity="note",
        )


def foreign_backups(storage: Storage) -> list[BackupVolume]:
    """Backups of volumes that this cluster does not have."""
    own = {volume.name for volume in storage.volumes}
    return [it for it in storage.backups if it.volume not in own]


def released_problems(storage: Storage) -> Iterator[StorageProblem]:
    """Volumes whose claim was deleted but whose data still exists."""
    released = [it for it in storage.volumes if it.is_released]
    if not released:
        return
    names = ", ".join(f"{it.name} ({it.claim})" for it in released[:MOST_NAMES])
    yield StorageProblem(
        subject=count(len(released), "released volume"),
        text=f"({gib(sum(it.size for it in released))}) {_have(released)} no claim any more, and "
        f"Longhorn keeps the data: {names}{_more(released)}",
        fix="to delete one: `kubectl delete pv NAME`, then delete the volume in Longhorn's "
        "interface (Volume), because nothing else deletes its data; to use it again: remove "
        "spec.claimRef from its persistent volume, and set volumeName of a new claim to the name "
        "of the persistent volume",
        severity="note",
    )


def gib(size: int) -> str:
    """Format bytes, as in ``42.9 GiB``."""
    return f"{size / GIB:.1f} GiB"


def age(span: timedelta) -> str:
    """Format a time span in whole units, rounded down: ``40 minutes``, ``5 hours``, ``3 days``."""
    minutes = int(span.total_seconds()) // 60
    if minutes < 120:
        return count(minutes, "minute")
    return count(minutes // 60, "hour") if minutes < 48 * 60 else count(span.days, "day")


def _late_backups(storage: Storage, limit: timedelta, now: datetime) -> Iterator[StorageProblem]:
    """Volumes without a backup that is younger than ``limit``.

    Longhorn backs up every volume that is not faulted, also detached ones, because the stack sets
    ``allow-recurring-job-while-volume-detached`` (longhorn-manager v1.12.1
    app/recurringjob/util.go filterVolumesForJob).
    """
    candidates = [
        it
        for it in _used(storage)
        if it.robustness != "faulted" and (it.created is None or now - it.created > limit)
    ]
    fix = (
        "check the last backups (`kubectl -n longhorn-system get backups.longhorn.io`) and the "
        "backup job (`kubectl -n longhorn-system get recurringjobs.longhorn.io,cronjobs,pods`)"
    )
    if never := [it for it in candidates if it.last_backup is None]:
        yield StorageProblem(
            subject=count(len(never), "volume"),
            text=f"{_have(never)} no backup, and more than {age(limit)} have passed since "
            f"Longhorn created {'it' if len(never) == 1 else 'them'}: {_names(never)}",
            fix=fix,
        )
    late = [(it.title, now - it.last_backup) for it in candidates if it.last_backup]
    if late := [(title, span) for title, span in late if span > limit]:
        shown = ", ".join(
            f"{title} (last one {age(span)} ago)" for title, span in late[:MOST_NAMES]
        )
        yield StorageProblem(
            subject=count(len(late), "volume"),
            text=f"{_have(late)} no backup of the last {age(limit)}, which is twice the longest "
            f"time between two runs of longhorn.backup.schedule: {shown}{_more(late)}",
            fix=fix,
        )


def _used(storage: Storage) -> list[Volume]:
    return [it for it in storage.volumes if not it.is_released]


def _have(things: Sequence[object]) -> str:
    return "has" if len(things) == 1 else "have"


def _names(volumes: Sequence[Volume]) -> str:
    return ", ".join(it.title for it in volumes[:MOST_NAMES]) + _more(volumes)


def _more(volumes: Sequence[object]) -> str:
    """The number of volumes that a list omits, as in `` and 3 more``; empty if none."""
    omitted = len(volumes) - MOST_NAMES
    return f" and {omitted} more" if omitted > 0 else ""
