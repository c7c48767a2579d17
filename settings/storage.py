"""Space on a data disk that Longhorn can use for volumes.

The Longhorn component sets both percentages. Longhorn's defaults, 30 and 25, are for a disk that
Longhorn shares with the operating system (longhorn.io, "Best Practices").
"""

from __future__ import annotations

RESERVED_PERCENT = 0
"""Percentage of a disk that Longhorn never allocates
(``storage-reserved-percentage-for-default-disk``). Nothing else uses the data disk, so it is 0."""
MINIMAL_AVAILABLE_PERCENT = 10
"""Longhorn places no new copy on a disk with this percentage of free space or less
(``storage-minimal-available-percentage``). Existing copies can still use that space."""
LEAST_DATA_DISK_GIB = 5
"""Minimum size of a data disk in GiB, enough for Traefik's certificates and a few small volumes."""
_MIB = 1 / 1024
"""1 MiB in GiB."""
_PARTITION_TABLE_GIB = 2 * _MIB
_MIN_LOG_GIB, _MAX_LOG_GIB = 64 * _MIB, 2.0
"""Bounds of the size of XFS's log in GiB. Between them the log takes 1/2048 of the filesystem
(mkfs.xfs)."""


def capacity_gib(data_disk_gib: float) -> float:
    """Size in GiB of the filesystem on a data disk, as Longhorn reports it."""
    log = min(max(_MIN_LOG_GIB, data_disk_gib / 2048), _MAX_LOG_GIB)
    return data_disk_gib - _PARTITION_TABLE_GIB - log


def usable_gib(data_disk_gib: float) -> float:
    """Total size in GiB of the volumes that fit on a data disk.

    Longhorn limits the nominal size of all copies to the capacity minus the reserved percentage,
    and their used space to the capacity minus the minimal free percentage (longhorn-manager v1.12.1
    scheduler/replica_scheduler.go IsSchedulableToDisk). The result respects both limits.
    """
    capacity = capacity_gib(data_disk_gib)
    return capacity * (100 - max(RESERVED_PERCENT, MINIMAL_AVAILABLE_PERCENT)) / 100
