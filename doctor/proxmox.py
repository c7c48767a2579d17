"""The Proxmox API for the checks. Each path is requested once, and the answer is cached."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import AddressValueError, IPv4Address
from threading import Lock
from typing import Any

from clients.proxmox.api import ProxmoxError, tags_of
from clients.proxmox.property_string import parse_options, parse_size
from doctor.findings import CannotCheckError
from lifecycle import retained_disk

_READER_THREADS = 8
_DISK = re.compile(r"(scsi|virtio|sata|ide|efidisk|tpmstate|unused)\d+")


@dataclass(frozen=True, kw_only=True)
class StackVm:
    """A VM with the tag of the stack."""

    vm_id: int
    host: str
    running: bool
    memory: int
    """Configured memory in bytes."""
    address: IPv4Address | None = None
    """The static address; None if the VM's config cannot be read."""
    mac_address: str = ""
    disks: dict[str, int] = field(default_factory=dict)
    """Nominal size of the VM's disks in bytes, by storage."""


class Proxmox:
    """Reads the Proxmox API, from several threads.

    All methods except ``version`` raise ``CannotCheckError`` if Proxmox does not answer or refuses.
    """

    def __init__(self, get: Callable[[str], Any], stack_tag: str) -> None:
        """``get`` reads a path of the API; ``stack_tag`` is the tag of the stack's VMs."""
        self._get = get
        self._stack_tag = stack_tag
        self._answers: dict[str, Future[Any]] = {}
        self._lock = Lock()

    def version(self) -> str:
        """The Proxmox VE version of the host that answers. Raises ``ProxmoxError``."""
        return str(self._read_once("/version")["version"])

    def read(self, path: str) -> Any:
        """Read the field ``data`` of the answer for an API path."""
        try:
            self.version()
        except ProxmoxError:
            raise CannotCheckError("Proxmox does not answer", reported_elsewhere=True) from None
        try:
            return self._read_once(path)
        except ProxmoxError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                reason = f"the token may not read {path}"
                raise CannotCheckError(reason, reported_elsewhere=True) from None
            verb = "does not answer" if error.status is None else "refuses"
            reason = f"Proxmox {verb} {path}: {error.detail}"
            raise CannotCheckError(reason, detail=error.detail) from None

    def online(self) -> dict[str, bool]:
        """The names of all Proxmox hosts, and whether each host is online."""
        return {entry["node"]: entry.get("status") == "online" for entry in self.read("/nodes")}

    def guests(self) -> list[dict[str, Any]]:
        """All guests that the token may see, as the API returns them."""
        found: list[dict[str, Any]] = self.read("/cluster/resources?type=vm")
        return found

    def other_guests_on(self, host: str) -> list[dict[str, Any]]:
        """The running guests of a host that do not belong to the stack."""
        return [it for it in self._others_on(host) if it.get("status") == "running"]

    def stopped_guests_on(self, host: str) -> list[dict[str, Any]]:
        """The stopped guests of a host that do not belong to the stack and can be started."""
        holder = retained_disk.tag(self._stack_tag)
        return [
            it
            for it in self._others_on(host)
            if it.get("status") == "stopped"
            and not int(it.get("template") or 0)
            and holder not in tags_of(it)
        ]

    def _others_on(self, host: str) -> list[dict[str, Any]]:
        return [
            guest
            for guest in self.guests()
            if guest["node"] == host and self._stack_tag not in tags_of(guest)
        ]

    def disk_holders(self) -> set[str]:
        """The names of the disk holders: placeholder VMs that own retained data disks."""
        tag = retained_disk.tag(self._stack_tag)
        return {self._name_of(guest) for guest in self.guests() if tag in tags_of(guest)}

    def hosts_of_vms(self) -> dict[str, str]:
        """The current host of each VM of the stack, by name of the VM.

        Leaves out a VM whose name cannot be read because its host does not answer.
        """
        found = {}
        for guest in self.guests():
            if self._stack_tag in tags_of(guest):
                with suppress(CannotCheckError):
                    found[self._name_of(guest)] = str(guest["node"])
        return found

    def stack_vms(self) -> list[StackVm]:
        """The existing VMs of the stack."""
        guests = [guest for guest in self.guests() if self._stack_tag in tags_of(guest)]
        with ThreadPoolExecutor(_READER_THREADS) as readers:
            return list(readers.map(self._read_vm, guests))

    def _name_of(self, guest: dict[str, Any]) -> str:
        """The name of a VM, from the list of guests or from its config.

        Proxmox lists a guest without its name for up to ten seconds after it is created, and if its
        host has not answered for five minutes (pvestatd reports the names).
        """
        if name := guest.get("name"):
            return str(name)
        path = f"/nodes/{guest['node']}/qemu/{guest['vmid']}/config"
        return str(self.read(path).get("name", ""))

    def _read_vm(self, guest: dict[str, Any]) -> StackVm:
        vm_id, host = int(guest["vmid"]), guest["node"]
        try:
            config = self.read(f"/nodes/{host}/qemu/{vm_id}/config")
        except CannotCheckError:  # For example, the host is offline.
            config = {}
        return StackVm(
            vm_id=vm_id,
            host=host,
            running=guest.get("status") == "running",
            memory=int(guest.get("maxmem", 0)),
            address=_address(config.get("ipconfig0", "")),
            mac_address=config.get("net0", "").partition(",")[0].partition("=")[2].upper(),
            disks=_disks(config),
        )

    def _read_once(self, path: str) -> Any:
        with self._lock:
            cached = self._answers.get(path)
            answer = cached or self._answers.setdefault(path, Future())
        if cached is None:
            try:
                answer.set_result(self._get(path))
            except Exception as error:
                answer.set_exception(error)
        return answer.result()


def _address(ipconfig: str) -> IPv4Address | None:
    """Parse the address of ``ip=192.168.1.155/24,gw=192.168.1.1``."""
    try:
        return IPv4Address(parse_options(ipconfig).get("ip", "").partition("/")[0])
    except AddressValueError:
        return None


def _disks(config: dict[str, Any]) -> dict[str, int]:
    """Sum the disk sizes in a VM's config by storage, in bytes.

    A disk in the config: ``local-lvm:vm-8010-disk-0,iothread=1,size=34G``.
    """
    sizes: dict[str, int] = {}
    for key, value in config.items():
        if _DISK.fullmatch(key) and (size := parse_size(parse_options(value).get("size", ""))):
            storage = value.partition(":")[0]
            sizes[storage] = sizes.get(storage, 0) + size
    return sizes
