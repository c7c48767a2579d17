"""The filesystems of a machine, as its host sees them and as its kubelet sees them.

Talos mounts EPHEMERAL at /var and each user volume at /var/mnt/NAME, in the host's mount
namespace. containerd resolves the hostPath volumes of pods there, too. The kubelet has a mount
namespace of its own: /var/mnt as the host has it, and `machine.kubelet.extraMounts`, which no pod
sees (siderolabs/talos v1.12.7, v1.13.9 and release-1.14:
internal/app/machined/pkg/system/services/kubelet.go shares the network and process namespaces
only).

Leaves out encryption, `minSize` and `maxSize`, user volumes that are a folder of EPHEMERAL, and a
disk that two user volumes share.
"""

from __future__ import annotations

import dataclasses
import posixpath
import uuid
from collections.abc import Mapping, Sequence

from ..proxmox.guests import Guest, GuestDisk
from .config import MachineConfig
from .selector import SelectorError, matches
from .validation import disk_fields

USER_VOLUMES = "/var/mnt"
"""The folder of the user volumes."""
EPHEMERAL = "/var"
"""Where EPHEMERAL is mounted."""
_ROOT = "/"
_MIB = 1024**2
_SYSTEM_PARTITIONS = 2204 * _MIB
"""What EFI (2101 MiB), META, STATE (100 MiB) and the partition table take of the OS disk
(pkg/machinery/imager/quirks/partitions.go)."""
_PARTITION_TABLE = 2 * _MIB
"""What the partition table takes of a data disk."""
_XFS_LOG = 64 * _MIB
"""What a new XFS of this size takes for its log; its capacity is the rest."""
_SYSTEM_IMAGE = 100 * _MIB


@dataclasses.dataclass(kw_only=True)
class Partition:
    """A partition with a filesystem, as it lies on a disk."""

    disk: str
    """Identity of the disk."""
    size: int
    identity: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    """Another one for each filesystem that is made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filesystem:
    """A mounted filesystem."""

    mount_point: str
    identity: str
    capacity: int
    """Bytes that files can take."""
    kind: str = "xfs"
    is_read_only: bool = False


class Partitions:
    """The partitions of one machine with a filesystem of their own: EPHEMERAL, user volumes."""

    def __init__(self) -> None:
        self._ephemeral: Partition | None = None
        self._user_volumes: dict[str, Partition] = {}

    def provision(self, config: MachineConfig | None, guest: Guest, *, boots: bool) -> None:
        """Make the partitions that are missing; those that may grow do so in a boot.

        A machine without a configuration has none of them yet.
        """
        if config is None:
            return
        if (system := _system_disk(guest)) is not None:
            size = max(0, system.size - _SYSTEM_PARTITIONS)
            self._ephemeral = _provisioned(self._ephemeral, system, size, grows=boots)
        for volume in config.user_volumes:
            found = self._user_volumes.get(volume.name)
            # A volume that exists is found by the label of its partition: the selector counts for a
            # new one alone (siderolabs/talos v1.13.9 controllers/block/internal/volumes).
            disk = _disk_of(found, guest) or _selected(volume.selector, guest)
            if disk is None:
                continue
            size = max(0, disk.size - _PARTITION_TABLE)
            grows = boots and volume.grows
            self._user_volumes[volume.name] = _provisioned(found, disk, size, grows=grows)

    def wipe(self) -> None:
        """Forget EPHEMERAL, as a reset does; user volumes stay."""
        self._ephemeral = None

    @property
    def ephemeral_size(self) -> int:
        """Bytes of the partition EPHEMERAL; 0 before it is made."""
        return self._ephemeral.size if self._ephemeral else 0

    def mounts(self, config: MachineConfig | None, guest: Guest) -> list[Filesystem]:
        """What is mounted in the host's mount namespace."""
        root = Filesystem(
            mount_point=_ROOT,
            identity="system-image",
            capacity=_SYSTEM_IMAGE,
            kind="squashfs",
            is_read_only=True,
        )
        disks = {disk.identity for disk in guest.disks}
        found = {EPHEMERAL: self._ephemeral}
        for volume in config.user_volumes if config else ():
            found[f"{USER_VOLUMES}/{volume.name}"] = self._user_volumes.get(volume.name)
        return [root] + [
            Filesystem(
                mount_point=mount_point,
                identity=partition.identity,
                capacity=max(0, partition.size - _XFS_LOG),
            )
            for mount_point, partition in found.items()
            if config and partition and partition.disk in disks
        ]


def kubelet_binds(config: MachineConfig | None) -> Mapping[str, str]:
    """What the kubelet's own mount namespace has in addition: by destination, the source."""
    extra = (config.get("machine", "kubelet", "extraMounts") if config else None) or []
    binds = {str(mount["destination"]): str(mount["source"]) for mount in extra}
    return {USER_VOLUMES: USER_VOLUMES} | binds


def pod_filesystem(mounts: Sequence[Filesystem], path: str) -> Filesystem:
    """The filesystem on which a hostPath of a pod lies: the host decides, not the kubelet."""
    return max(
        (mount for mount in mounts if _is_below(path, mount.mount_point)),
        key=lambda mount: len(mount.mount_point),
    )


def kubelet_filesystem(
    mounts: Sequence[Filesystem], binds: Mapping[str, str], path: str
) -> Filesystem:
    """The filesystem on which a path of the kubelet lies."""
    path = posixpath.normpath(path)
    above = [destination for destination in binds if _is_below(path, destination)]
    if above:
        destination = max(above, key=len)
        rest = posixpath.relpath(path, destination)
        path = posixpath.join(binds[destination], rest)
    return pod_filesystem(mounts, path)


def _is_below(path: str, folder: str) -> bool:
    path, folder = posixpath.normpath(path), posixpath.normpath(folder)
    return posixpath.commonpath([path, folder]) == folder


def _provisioned(found: Partition | None, disk: GuestDisk, size: int, *, grows: bool) -> Partition:
    if found is None or found.disk != disk.identity:
        return Partition(disk=disk.identity, size=size)
    if grows:
        found.size = max(found.size, size)
    return found


def _system_disk(guest: Guest) -> GuestDisk | None:
    return next((disk for disk in guest.disks if disk.is_boot_disk), None)


def _disk_of(partition: Partition | None, guest: Guest) -> GuestDisk | None:
    if partition is None:
        return None
    return next((disk for disk in guest.disks if disk.identity == partition.disk), None)


def _selected(selector: str, guest: Guest) -> GuestDisk | None:
    for disk in guest.disks:
        try:
            if matches(selector, disk_fields(disk), system_disk=disk.is_boot_disk):
                return disk
        except SelectorError:
            return None
    return None
