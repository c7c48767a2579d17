"""Where Proxmox VE ends: what it tells the guests of its VMs, and what they tell it."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Sequence
from typing import Protocol

from .drives import Drive
from .model import Vm
from .property_string import parse

_DEVICE_PREFIXES = {"scsi": "sd", "sata": "sd", "ide": "sd", "virtio": "vd"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuestDisk:
    """A disk as the guest sees it."""

    device: str
    size: int
    serial: str
    is_boot_disk: bool
    image_url: str
    """Where its first data came from; empty for a blank disk."""
    identity: str = ""
    """What tells it from a disk that is made anew in its place."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guest:
    """The hardware that a VM's configuration describes to its guest."""

    vmid: int
    name: str
    address: str
    """The static address of the first ``ipconfig``, without its prefix length."""
    memory: int
    cores: int
    disks: tuple[GuestDisk, ...]


class GuestError(Exception):
    """The guest cannot live as it is configured; the start task fails with these words."""


class Guests(Protocol):
    """What runs inside the VMs."""

    @property
    def reboot_s(self) -> float:
        """Seconds that a guest is away when it reboots."""

    def is_deaf(self, vmid: int) -> bool:
        """Whether the guest does not shut down when it is asked to."""

    async def power_on(self, guest: Guest) -> None:
        """Boot the guest."""

    async def power_off(self, vmid: int) -> None:
        """Cut the guest's power; its disks stay."""

    def replug(self, guest: Guest) -> None:
        """Show a running guest the disks that it has now."""

    async def discard(self, vmid: int) -> None:
        """Forget the guest's disks."""

    def agent_addresses(self, vmid: int) -> Sequence[str] | None:
        """Return the addresses that the guest agent reports, None while it is not running."""


def guest_of(vm: Vm) -> Guest:
    """Read the guest's hardware from the VM's configuration."""
    return Guest(
        vmid=vm.vmid,
        name=vm.name,
        address=_static_address(vm),
        memory=int(vm.config.get("memory", "512")) * 1024**2,
        cores=int(vm.config.get("cores", "1")),
        disks=tuple(_disks(vm)),
    )


def _static_address(vm: Vm) -> str:
    address = parse(vm.config.get("ipconfig0", ""), "ip").get("ip", "")
    try:
        return str(ipaddress.ip_interface(address).ip)
    except ValueError:  # none, dhcp, auto
        return ""


def _disks(vm: Vm) -> list[GuestDisk]:
    boot_order = parse(vm.config.get("boot", ""), "order").get("order", "").split(";")
    counts: dict[str, int] = {}
    disks = []
    for key, options in vm.drives():
        prefix = _DEVICE_PREFIXES.get(key.rstrip("0123456789"))
        if prefix is None or options.get("media") == "cdrom":
            continue
        number = counts.get(prefix, 0)
        counts[prefix] = number + 1
        volume = vm.node.volume(Drive(key, options).file)
        disks.append(
            GuestDisk(
                device=f"/dev/{prefix}{chr(ord('a') + number)}",
                size=volume.size,
                serial=options.get("serial", f"drive-{key}"),
                is_boot_disk=key == boot_order[0],
                image_url=volume.url,
                identity=volume.identity,
            )
        )
    return disks
