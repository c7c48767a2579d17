"""Finds what somebody changed by hand at the VMs in Proxmox, and what an ``up`` does about it.

The settings describe one network device and one or two disks of each VM. If the Proxmox provider
changes the network device or a disk, it removes all others from the VM, although they are not in
the state (bpg/terraform-provider-proxmox v0.111.1 proxmoxtf/resource/vm/vm.go ``vmUpdate``). After
a refresh, or another change of the VM, they are in the state, and any ``up`` would remove them. So:

- What the settings do not describe stays, unless a setting changes the same input
  (``kept_inputs``). What has no setting at all always stays (``components/machines.py``).
- Otherwise preview and ``up`` log a note before the change (``hardware_notes``), and the doctor
  reports it.

Snapshots are not part of a VM's configuration, and stay until the VM is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from clients.proxmox.guests import Guest, Ownership, mac_address, ownership
from clients.proxmox.property_string import GIB, parse_options, parse_size
from settings.models import Settings
from settings.node import DATA_DISK, OS_DISK, Node

_DISK = re.compile(r"(ide|sata|scsi|virtio)\d+")
_OUTPUTS_OF_NETWORK_DEVICES = ("ipv4Addresses", "ipv6Addresses", "networkInterfaceNames")
"""Outputs that the provider shows as changed if the network devices differ, although this
difference is ignored (vm.go ``customdiff.ComputedIf``)."""
_NETWORK_OPTIONS = {"virtio", "bridge", "tag"}
"""Options of a network device that the settings describe; ``virtio`` is its MAC address."""


@dataclass(frozen=True, kw_only=True)
class HardwareNote:
    """Something about a VM that a user should know before an ``up``. As text: in sentences."""

    name: str
    """The node."""
    guest: Guest
    finding: str
    """What is different in Proxmox and what follows, in sentences."""
    fix: str
    """What to do, as a sentence."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.finding} {self.fix}"

    @property
    def subject(self) -> str:
        """Which VM it is."""
        return f"{self.name} (VM {self.guest.vm_id} on {self.guest.host})"


def kept_inputs(guests: Iterable[Guest], settings: Settings) -> dict[str, list[str]]:
    """By node name: the inputs of its VM that no setting changes, but somebody did in Proxmox."""
    vms = [_Vm(guest, node, settings) for guest, node in _vms_of_nodes(guests, settings)]
    return {vm.node.name: kept for vm in vms if (kept := list(vm.kept_inputs()))}


def hardware_notes(guests: Iterable[Guest], settings: Settings) -> Iterator[HardwareNote]:
    """Yield what an ``up`` takes away from the VMs of the stack, or cannot change."""
    guests = list(guests)
    for guest, node in _vms_of_nodes(guests, settings):
        for finding, fix in _Vm(guest, node, settings).notes():
            yield HardwareNote(name=node.name, guest=guest, finding=finding, fix=fix)
    planned = {node.vm_id for node in settings.machines}
    names = settings.running.names_by_vm_id
    for guest in guests:
        if guest.vm_id in names and guest.vm_id not in planned:
            for finding, fix in _notes_on_removal(guest):
                yield HardwareNote(name=names[guest.vm_id], guest=guest, finding=finding, fix=fix)


def _vms_of_nodes(guests: Iterable[Guest], settings: Settings) -> Iterator[tuple[Guest, Node]]:
    """The VMs of the planned nodes whose configuration was read."""
    nodes = {node.vm_id: node for node in settings.machines}
    in_state = settings.running.names_by_vm_id
    for guest in guests:
        is_read = guest.vm_id in nodes and guest.config
        tag, is_known = settings.stack_tag, guest.vm_id in in_state
        if is_read and ownership(guest, tag, is_known) is Ownership.STACK:
            yield guest, nodes[guest.vm_id]


class _Vm:
    """The VM of a node: its configuration in Proxmox beside that of the settings."""

    def __init__(self, guest: Guest, node: Node, settings: Settings) -> None:
        self.node = node
        self._guest = guest
        self._settings = settings
        # Without a boot order Proxmox starts a VM from its first disk (PVE/QemuServer.pm
        # ``get_default_bootdevices``).
        order = guest.config.get("boot", "").partition("order=")[2]
        self._boot_order = order.split(";") if order else [OS_DISK]
        network = {
            key: parse_options(value, "model")
            for key, value in sorted(guest.config.items())
            if re.fullmatch(r"net\d+", key)
        }
        self._network_device = network.pop("net0", {})
        self._added_network_devices = network
        sizes = {OS_DISK: node.os_disk_gib, DATA_DISK: node.data_disk_gib}
        self._sizes_gib = {key: size for key, size in sizes.items() if size is not None}
        disks = _disks(guest.config)
        self._disks = {key: disks[key] for key in self._sizes_gib if key in disks}
        self._added_disks = {key: disks[key] for key in disks if key not in self._sizes_gib}

    def kept_inputs(self) -> Iterator[str]:
        """The inputs of the VM that somebody changed, but not in what the settings describe."""
        own_tags = {self._settings.stack_tag, str(self.node.role), "talos"}
        if self._guest.tags > own_tags:
            yield "tags"
        if OS_DISK in self._boot_order and self._boot_order != [OS_DISK]:
            yield "bootOrders"
        # The provider always sends firewall=0.
        options = self._network_device | {"firewall": self._network_device.get("firewall", "0")}
        has_options = options.keys() - {*_NETWORK_OPTIONS, "firewall"} or options["firewall"] != "0"
        if (self._added_network_devices or has_options) and self._has_network_of_settings():
            yield "networkDevices"
            yield from _OUTPUTS_OF_NETWORK_DEVICES
        if self._added_disks and self._has_disks_of_settings():
            yield "disks"

    def notes(self) -> Iterator[tuple[str, str]]:
        """Yield pairs of finding and fix."""
        if lock := self._guest.lock:
            yield (
                f"Proxmox has locked the VM ({lock}), and refuses to change, stop or delete it.",
                f"If `up` changes this node, wait until the {lock} ends. If no task of Proxmox "
                f"works on the VM, run `qm unlock {self._guest.vm_id}` on {self._guest.host}.",
            )
        if OS_DISK not in self._boot_order:
            yield (
                f"its boot order ({', '.join(self._boot_order)}) does not contain {OS_DISK}, so "
                "Talos does not start after the next power cycle.",
                f"Enable {OS_DISK} in the boot order of the VM in Proxmox.",
            )
        if self._added_network_devices and not self._has_network_of_settings():
            added = ", ".join(self._added_network_devices)
            yield (
                f"somebody added {added} in Proxmox. `up` sets net0 to network.bridge and "
                f"network.vlan, and the Proxmox provider then removes {added}.",
                f"No setting keeps {added}: write down bridge and MAC address, and add it again "
                "after the `up`.",
            )
        if self._added_disks and not self._has_disks_of_settings():
            added = _listed(self._added_disks)
            yield (
                f"somebody attached {added} in Proxmox. `up` sets the disks to the sizes of the "
                "settings, and the Proxmox provider then detaches all others. Their data stays in "
                "unused disks of the VM until the VM is deleted.",
                "No setting keeps them attached: stop what uses them, and attach them again after "
                "the `up`.",
            )
        passed = _passed_through(self._guest.config)
        if passed and self._is_migrated():
            yield (
                f"its host becomes {self.node.host}, but Proxmox does not migrate a running VM "
                f"with a device of its host ({', '.join(passed)}).",
                "Remove the device from the VM in Proxmox, or set the host back.",
            )

    def _has_network_of_settings(self) -> bool:
        network = self._settings.network
        wanted = {
            "virtio": mac_address(self._settings.stack_tag, self.node.vm_id),
            "bridge": network.bridge,
            "tag": str(network.vlan) if network.vlan is not None else None,
        }
        return all(self._network_device.get(key) == value for key, value in wanted.items())

    def _has_disks_of_settings(self) -> bool:
        datastore = self._settings.proxmox.disk_datastore
        return self._disks.keys() == self._sizes_gib.keys() and all(
            disk["file"].partition(":")[0] == datastore
            and parse_size(disk.get("size", "")) == self._sizes_gib[key] * GIB
            for key, disk in self._disks.items()
        )

    def _is_migrated(self) -> bool:
        """Whether a setting moves the VM. It is on the host of the state, or was moved by hand."""
        hosts = self._settings.running.hosts
        return self.node.name in hosts and self.node.host not in (
            self._guest.host,
            hosts[self.node.name],
        )


def _notes_on_removal(guest: Guest) -> Iterator[tuple[str, str]]:
    disks = _disks(guest.config)
    unused = {
        key: parse_options(value, "file")
        for key, value in sorted(guest.config.items())
        if re.fullmatch(r"unused\d+", key)
    }
    added = {key: disk for key, disk in disks.items() if key not in (OS_DISK, DATA_DISK)} | unused
    if added:
        yield (
            f"`up` removes this node, and deletes its VM with {_listed(added)}, which somebody "
            "attached in Proxmox.",
            "If you need the data, reassign the disk to another VM in Proxmox first.",
        )
    if lock := guest.lock:
        yield (
            f"`up` removes this node, but Proxmox has locked its VM ({lock}) and refuses to delete "
            "it.",
            f"Wait until the {lock} ends.",
        )


def _disks(config: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The options of the disks by interface, without CD-ROM and cloud-init drives."""
    drives = {
        key: parse_options(value, "file")
        for key, value in sorted(config.items())
        if _DISK.fullmatch(key)
    }
    return {key: drive for key, drive in drives.items() if drive.get("media") != "cdrom"}


def _listed(disks: Mapping[str, Mapping[str, str]]) -> str:
    return ", ".join(f"{key} ({disk['file']})" for key, disk in disks.items())


def _passed_through(config: Mapping[str, str]) -> list[str]:
    """PCI and USB devices of the host that the VM uses."""
    return [
        key
        for key, value in sorted(config.items())
        if re.fullmatch(r"(hostpci|usb)\d+", key) and not value.startswith("spice")
    ]
