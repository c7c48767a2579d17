"""How much of a data disk Longhorn can give to volumes.

Both percentages are values that the Longhorn component sets. Longhorn's own defaults, 30 and 25,
are meant for a disk that Longhorn shares with the operating system (longhorn.io, Best Practices).
"""

from __future__ import annotations

RESERVED_PERCENT = 0
"""Share of a disk that Longhorn never allocates (``storage-reserved-percentage-for-default-disk``).
The data disk serves Longhorn alone, so nothing else needs space on it."""
MINIMAL_AVAILABLE_PERCENT = 10
"""Longhorn places no further copy on a disk with this share of free space or less
(``storage-minimal-available-percentage``). Copies that are already there can still grow into it."""
LEAST_DATA_DISK_GIB = 5
"""Smallest data disk in GiB. It holds Traefik's certificates and a few small volumes; on 2 GiB
hardly any chart's volume could be placed."""
_MIB = 1 / 1024
"""GiB."""
_PARTITION_TABLE = 2 * _MIB
_SMALLEST_LOG, _LARGEST_LOG = 64 * _MIB, 2.0
"""Bounds of the log of XFS in GiB; between them it has 1/2048 of the filesystem (mkfs.xfs)."""


def capacity_gib(data_disk_gib: float) -> float:
    """Size in GiB of the filesystem on a data disk, as Longhorn reports it."""
    log = min(max(_SMALLEST_LOG, data_disk_gib / 2048), _LARGEST_LOG)
    return data_disk_gib - _PARTITION_TABLE - log


def usable_gib(data_disk_gib: float) -> float:
    """How many GiB of volumes a data disk can hold.

    Longhorn limits the nominal sizes of the copies to the capacity without the reserved share, and
    the space that they really use to the capacity without the minimal free share (longhorn-manager
    v1.12.1 scheduler/replica_scheduler.go IsSchedulableToDisk). The smaller one counts.
    """
    capacity = capacity_gib(data_disk_gib)
    return capacity * (100 - max(RESERVED_PERCENT, MINIMAL_AVAILABLE_PERCENT)) / 100
