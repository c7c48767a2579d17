"""What is wrong with Longhorn's disks, volumes and backups, each as a subject, a text and a fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clients.kubernetes.longhorn import DATA_PATH, Disk

GIB = 1024**3
"""Bytes."""
LEAST_SHARE, MOST_SHARE = 0.9, 1.001
"""A data disk's filesystem has this share of its size: XFS keeps a log of its own (64 MiB, later
more) outside of what it reports as its capacity, and a partition cannot be larger than its disk."""


@dataclass(frozen=True, kw_only=True)
class StorageProblem:
    """Something that a person should see to."""

    subject: str
    """A node, a volume or the backup target."""
    text: str
    """What is wrong, as the rest of a sentence after the subject."""
    fix: str
    """What to do."""
    is_lasting: bool = False
    """Whether it stays until a person acts; Longhorn solves all others by itself in time."""

    def __str__(self) -> str:
        return f"{self.subject} {self.text}. Fix: {self.fix}."


def disk_problems(disks: Sequence[Disk], wanted: Mapping[str, int]) -> Iterator[StorageProblem]:
    """What is wrong with the disk of each storage node.

    ``wanted`` is the size of the data disk in GiB, by node name. Nodes that are not in it must
    store nothing.
    """
    by_node = {node: [disk for disk in disks if disk.node == node] for node in wanted}
    for node, size_gib in wanted.items():
        if problem := _disk_problem(node, by_node[node], size_gib):
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
            text=f"stores Longhorn's data at {others}, which lies on its OS disk: the data disk of "
            f"{size_gib} GiB is at {DATA_PATH}",
            fix=f"in Longhorn's interface (Node) add the disk {DATA_PATH}, request the eviction of "
            "the replicas on the other disk, and remove that one once it is empty",
            is_lasting=True,
        )
    if found is None:
        return StorageProblem(
            subject=node,
            text=f"has no disk in Longhorn yet, although it has a data disk of {size_gib} GiB",
            fix=f"see `kubectl -n longhorn-system get nodes.longhorn.io {node} -o yaml`, and "
            "whether its pod of longhorn-manager runs",
        )
    if not found.size:
        return StorageProblem(
            subject=node,
            text=f"does not report the size of its disk {DATA_PATH} yet"
            + (f": {found.reason}" if found.reason else ""),
            fix=f"see `talosctl -n {node} get volumestatus u-longhorn`",
        )
    if not LEAST_SHARE <= found.size / (size_gib * GIB) <= MOST_SHARE:
        return StorageProblem(
            subject=node,
            text=f"stores Longhorn's data on a filesystem of {found.size / GIB:.1f} GiB, but its "
            f"data disk has {size_gib} GiB: {DATA_PATH} is not the data disk, so the data lies on "
            "the OS disk",
            fix=f"see why Talos did not mount the data disk (`talosctl -n {node} get volumestatus "
            "u-longhorn`), reboot the node, and run `up` again",
            is_lasting=found.is_ready,
        )
    if not found.is_ready:
        return StorageProblem(
            subject=node,
            text=f"has a disk that Longhorn cannot use: {found.reason or 'it is not ready'}",
            fix=f"see `kubectl -n longhorn-system describe nodes.longhorn.io {node}`",
        )
    return None
