"""How much of a data disk volumes can use. Sizes are GiB.

Longhorn schedules a copy on a disk if the nominal sizes of all copies stay within its capacity less
what is reserved, and if enough of it stays free (longhorn-manager v1.12.1
scheduler/replica_scheduler.go IsSchedulableToDisk).
"""

from __future__ import annotations

RESERVED_PERCENT = 0
"""Share of a data disk that Longhorn never allocates: none, because the disk serves Longhorn alone.
Longhorn's default, 30, is meant for a disk that is shared with the operating system."""
MINIMAL_AVAILABLE_PERCENT = 10
"""Share of a data disk that must stay free: Longhorn schedules nothing more beyond it
(longhorn.io, Best Practices: 10 for a dedicated disk; the default is 25)."""
LEAST_DATA_DISK_GIB = 5
"""Smallest data disk: with Longhorn's share taken off, it holds Traefik's certificates and a few
small volumes. On 2 GiB hardly any chart's volume could be scheduled."""
_OUTSIDE_MIB = 66
"""What the partition table (2 MiB) and XFS' log (64 MiB at this size) take off the capacity."""


def capacity_gib(data_disk_gib: int) -> float:
    """Capacity of the filesystem on a data disk."""
    return data_disk_gib - _OUTSIDE_MIB / 1024


def usable_gib(data_disk_gib: int) -> float:
    """What volumes can use of a data disk."""
    return (
        capacity_gib(data_disk_gib) * (100 - max(RESERVED_PERCENT, MINIMAL_AVAILABLE_PERCENT)) / 100
    )
