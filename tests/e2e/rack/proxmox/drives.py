"""From the drives that a request asks for to the volumes and strings that Proxmox VE keeps.

What is stored is ``STORE:vm-ID-disk-N,k=v…,size=10G``; how to make it (``import-from``,
``format``) is never echoed.
"""

from __future__ import annotations

import dataclasses
import re

from . import errors
from .model import GIB, Node, Storage, Vm, Volume
from .property_string import parse, render, render_size

_MIB = 1024**2
_CREATION_ONLY = frozenset({"file", "format", "import-from", "import_from", "size"})
_FIXED_SIZES = {"efidisk": 4 * _MIB, "tpmstate": 4 * _MIB}
_CLOUDINIT = "cloudinit"
_IMPORTED_IMAGE_SIZE = 1258291200
"""Bytes of a Talos disk image when it is unpacked: a disk is of that size until it is resized."""


@dataclasses.dataclass(frozen=True)
class Drive:
    """One drive as a request describes it."""

    key: str
    options: dict[str, str]

    @classmethod
    def of(cls, key: str, text: str) -> Drive:
        """Read the value of a configuration key."""
        return cls(key, parse(text, "file"))

    @property
    def file(self) -> str:
        """``STORE:GIB`` for a new volume, ``STORE:cloudinit``, a volume id, ``none``, ``cdrom``."""
        return self.options.get("file", "none")

    @property
    def storage(self) -> str:
        """The storage that it names, if any."""
        return self.file.partition(":")[0] if ":" in self.file else ""

    @property
    def request(self) -> str:
        """What follows the storage's name."""
        return self.file.partition(":")[2]

    @property
    def is_new(self) -> bool:
        """Whether a volume has to be made."""
        return self.request == _CLOUDINIT or re.fullmatch(r"[0-9.]+", self.request) is not None

    @property
    def source(self) -> str:
        """The volume whose data a new disk starts with."""
        return self.options.get("import-from", "")


def check(node: Node, drive: Drive) -> None:
    """Refuse what can be seen to be wrong before any work is done."""
    if not drive.storage:
        return
    storage = node.storage(drive.storage)
    if not drive.is_new:
        return
    if "images" not in storage.content:
        raise errors.no_vm_images(storage.name)
    if drive.source:
        node.storage(drive.source.partition(":")[0])


def place(vm: Vm, drive: Drive) -> str:
    """Make the volume of a drive if it is new, and return the string to keep."""
    if not drive.storage:
        return render(drive.file, {"media": "cdrom"})
    storage = vm.node.storage(drive.storage)
    if drive.request == _CLOUDINIT:
        return render(_cloudinit_volume(vm, storage).volid, {"media": "cdrom"})
    dropped = _CREATION_ONLY
    if drive.is_new:
        volume = _disk_volume(vm, storage, drive)
    else:
        volume = _existing_volume(storage, drive.file)
        dropped -= {"format"}
    options = {k: v for k, v in drive.options.items() if k not in dropped}
    return render(volume.volid, options | {"size": render_size(volume.size)})


def resize(vm: Vm, key: str, size: int) -> None:
    """Grow a disk to an absolute size in bytes."""
    drive = Drive.of(key, vm.config[key])
    storage = vm.node.storage(drive.storage)
    volume = storage.get(drive.file)
    if size < volume.size:
        raise errors.TaskError("shrinking disks is not supported")
    storage.require(size - volume.size)
    volume.size = size
    vm.config[key] = place(vm, drive)


def detach(vm: Vm, key: str) -> None:
    """Take a drive out; a disk stays on its storage as ``unusedN``, as Proxmox VE has it."""
    drive = Drive.of(key, vm.config.pop(key))
    if not drive.storage:
        return
    if key.startswith("unused") or drive.options.get("media") == "cdrom":
        vm.node.storage(drive.storage).volumes.pop(drive.file, None)
        return
    number = next(n for n in range(256) if f"unused{n}" not in vm.config)
    vm.config[f"unused{number}"] = drive.file


def _existing_volume(storage: Storage, volid: str) -> Volume:
    """A volume that a drive names; only the task that uses it notices that it is not there."""
    try:
        return storage.get(volid)
    except errors.ProxmoxError as error:
        name = volid.partition(":")[2]
        reason = f"no such logical volume pve/{name}"
        raise errors.TaskError(error.reason if storage.holds_files else reason) from None


def _cloudinit_volume(vm: Vm, storage: Storage) -> Volume:
    name = f"vm-{vm.vmid}-cloudinit"
    return _volume(vm, storage, name, "qcow2" if storage.holds_files else "raw", 4 * _MIB)


def _disk_volume(vm: Vm, storage: Storage, drive: Drive) -> Volume:
    names = {volid.rpartition("/")[2].rpartition(":")[2] for volid in storage.volumes}
    taken = {name.partition(".")[0] for name in names}
    name = next(n for n in (f"vm-{vm.vmid}-disk-{i}" for i in range(256)) if n not in taken)
    size = _FIXED_SIZES.get(drive.key.rstrip("0123456789"), int(float(drive.request) * GIB))
    file_format = drive.options.get("format", "raw") if storage.holds_files else "raw"
    if not drive.source:
        return _volume(vm, storage, name, file_format, size)
    try:
        image = vm.node.volume(drive.source)
    except errors.ProxmoxError:
        path = f"/var/lib/vz/{drive.source.partition(':')[2]}"
        raise errors.TaskError(f"failed to stat '{path}'") from None
    return _volume(vm, storage, name, file_format, _IMPORTED_IMAGE_SIZE, url=image.url)


def _volume(
    vm: Vm, storage: Storage, name: str, file_format: str, size: int, *, url: str = ""
) -> Volume:
    path = f"{vm.vmid}/{name}.{file_format}" if storage.holds_files else name
    volume = Volume(
        volid=f"{storage.name}:{path}",
        content="images",
        format=file_format,
        size=size,
        vmid=vm.vmid,
        url=url,
    )
    storage.add(volume)
    return volume
