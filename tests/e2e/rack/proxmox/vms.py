"""Making, changing and destroying VMs."""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from collections.abc import Iterable, Iterator, Mapping

from . import drives, errors
from .drives import Drive
from .errors import TaskError
from .model import Cluster, Node, Vm, is_drive
from .property_string import parse, render

_NOT_CONFIGURATION = frozenset(
    {"vmid", "pool", "delete", "start", "force", "storage", "digest", "lock", "skiplock"}
)
_PARAMETER = re.compile(
    r"acpi|affinity|agent|arch|args|audio0|balloon|bios|boot|cicustom|cipassword|citype|ciupgrade"
    r"|ciuser|cores|cpu|cpulimit|cpuunits|description|efidisk0|hookscript|hotplug|hugepages"
    r"|keephugepages|keyboard|kvm|localtime|machine|memory|name|nameserver|numa|onboot|ostype"
    r"|protection|scsihw|searchdomain|shares|smbios1|sockets|sshkeys|startup|tablet|tags|template"
    r"|tpmstate0|vcpus|vga|vmgenid|vmstatestorage|watchdog"
    r"|(hostpci|ide|ipconfig|net|numa|parallel|rng|sata|scsi|serial|unused|usb|virtio|virtiofs)\d+"
)
_NETWORK = re.compile(r"net\d+")
_MODELS = frozenset({"virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"})
_MAC_PREFIX = ("BC", "24", "11")
_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*")


def check(node: Node, parameters: Mapping[str, str]) -> None:
    """Refuse what the schema, the storages or their content types do not allow."""
    for key, value in parameters.items():
        if key in _NOT_CONFIGURATION:
            continue
        if not _PARAMETER.fullmatch(key):
            raise errors.invalid_parameter(
                key,
                "property is not defined in schema and the schema does not allow additional "
                "properties",
            )
        if is_drive(key):
            drives.check(node, Drive.of(key, value))
    if not _DNS_NAME.fullmatch(parameters.get("name", "vm")):
        raise errors.invalid_parameter(
            "name", "invalid format - value does not look like a valid DNS name"
        )


def create(cluster: Cluster, node: Node, parameters: Mapping[str, str]) -> None:
    """Make a VM with all its disks, or leave nothing behind."""
    vm = Vm(vmid=int(parameters["vmid"]), node=node, config={})
    vm.config["smbios1"] = f"uuid={uuid.uuid4()}"
    vm.config["vmgenid"] = str(uuid.uuid4())
    vm.config["meta"] = "creation-qemu=10.1.2"
    try:
        configure(vm, parameters)
    except TaskError as error:
        _free(vm, vm.volumes())
        cluster.vms.pop(vm.vmid, None)
        raise TaskError(f"unable to create VM {vm.vmid} - {error}") from None
    if "boot" not in vm.config:
        vm.config["boot"] = f"order={';'.join(_default_boot_devices(vm))}"
    cluster.vms[vm.vmid] = vm
    if "pool" in parameters:
        cluster.pool(parameters["pool"]).vmids.add(vm.vmid)


def configure(vm: Vm, parameters: Mapping[str, str]) -> None:
    """Change the configuration as ``PUT …/config`` does."""
    for key in filter(None, parameters.get("delete", "").split(",")):
        if is_drive(key) and key in vm.config:
            drives.detach(vm, key)
        vm.config.pop(key, None)
    for key in sorted(parameters.keys() - _NOT_CONFIGURATION):
        value = parameters[key]
        if is_drive(key):
            value = _replace_drive(vm, Drive.of(key, value))
        elif _NETWORK.fullmatch(key):
            value = _network_device(value)
        vm.config[key] = value
    config = "\n".join(f"{k}: {v}" for k, v in sorted(vm.config.items()) if k != "digest")
    vm.config["digest"] = hashlib.sha1(config.encode(), usedforsecurity=False).hexdigest()


def resize(vm: Vm, key: str, size: str) -> None:
    """Grow a disk; the provider sends absolute bytes."""
    vm.require_unlocked()
    if key not in vm.config:
        raise TaskError(f"disk '{key}' does not exist")
    if not size.isdigit():
        raise errors.invalid_parameter("size", "value does not match the regex pattern")
    drives.resize(vm, key, int(size))


def destroy(cluster: Cluster, vm: Vm, *, unreferenced: bool) -> None:
    """Remove a VM with its disks, those that its configuration does not name only on request.

    It leaves its pool however it is asked: ``purge`` is about jobs (``destroy_vm`` of
    qemu-server, ``remove_vm_access`` of pve-access-control).
    """
    named = {options.get("file", "") for _, options in vm.drives()}
    _free(vm, (volid for volid in vm.volumes() if unreferenced or volid in named))
    del cluster.vms[vm.vmid]
    if pool := cluster.pool_of(vm):
        pool.vmids.discard(vm.vmid)


def migrate(vm: Vm, target: Node) -> None:
    """Move a VM with its disks to the storages of the same names on another host."""
    vm.require_unlocked()
    for volid, volume in vm.volumes().items():
        storage = volid.partition(":")[0]
        target.storage(storage).add(volume)
        del vm.node.storage(storage).volumes[volid]
    vm.node = target


def require_bootable(vm: Vm) -> None:
    """Fail the task that starts a VM on a host that cannot run it."""
    vcpus = int(vm.config.get("cores", "1")) * int(vm.config.get("sockets", "1"))
    if vcpus > vm.node.cores:
        raise TaskError(f"MAX {vm.node.cores} vcpus allowed per VM on this node")
    for key in _networks(vm):
        bridge = parse(vm.config[key], "model").get("bridge")
        if bridge not in (None, *vm.node.bridges):
            log = f"bridge '{bridge}' does not exist"
            raise TaskError("start failed: QEMU exited with code 1", log=log)


def _default_boot_devices(vm: Vm) -> Iterator[str]:
    """The first disk and the first network device."""
    disks = [key for key, options in vm.drives() if options.get("media") != "cdrom"]
    yield from disks[:1]
    yield from _networks(vm)[:1]


def _networks(vm: Vm) -> list[str]:
    return sorted(filter(_NETWORK.fullmatch, vm.config))


def _free(vm: Vm, volids: Iterable[str]) -> None:
    for volid in volids:
        del vm.node.storage(volid.partition(":")[0]).volumes[volid]


def _replace_drive(vm: Vm, drive: Drive) -> str:
    current = vm.config.get(drive.key)
    if current and parse(current, "file").get("file") != drive.file:
        drives.detach(vm, drive.key)
    return drives.place(vm, drive)


def _network_device(text: str) -> str:
    """``model=virtio,macaddr=M`` is kept as ``virtio=M``, which a person may write as well (B4)."""
    options = parse(text, "model")
    written = _MODELS & options.keys()
    model = next(iter(written)) if written else options.pop("model", "virtio")
    mac = options.pop(model, "") or options.pop("macaddr", "") or _new_mac_address()
    return render(f"{model}={mac}", options)


def _new_mac_address() -> str:
    """Make an address with the prefix that Proxmox VE gives to its VMs."""
    return ":".join([*_MAC_PREFIX, *(f"{byte:02X}" for byte in secrets.token_bytes(3))])
