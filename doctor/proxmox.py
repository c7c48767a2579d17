"""Proxmox as the checks see it: each path is read once, whoever asks first."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from threading import Lock
from typing import Any

from clients.proxmox import api as proxmox_api
from doctor.findings import CannotTellError
from lifecycle import retained_disk

_READERS = 8
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DISK = re.compile(r"(scsi|virtio|sata|ide|efidisk|tpmstate|unused)\d+")


@dataclass(frozen=True, kw_only=True)
class OwnMachine:
    """A virtual machine that bears the castle's tag."""

    vm_id: int
    host: str
    running: bool
    memory: int
    """Bytes."""
    address: IPv4Address | None = None
    """Its static address; none where its configuration could not be read."""
    mac_address: str = ""
    disks: dict[str, int] = field(default_factory=dict)
    """By storage: bytes that its disks may grow to."""


class Proxmox:
    """Reads the API; all is kept, so that twenty checks ask for one thing once.

    Everything that is read raises ``CannotTellError`` where there is no answer, or none that makes
    sense.
    """

    def __init__(self, get: Callable[[str], Any], stack_tag: str) -> None:
        """``get`` is a ``proxmox_api.caller``; ``stack_tag`` is the tag of our VMs."""
        self._get = get
        self._owner = stack_tag
        self._answers: dict[str, Future[Any]] = {}
        self._lock = Lock()

    def version(self) -> str:
        """The version of the host that answers. Raises what ``proxmox_api.caller`` raises."""
        return str(self._once("/version")["version"])

    def read(self, path: str) -> Any:
        """The ``data`` behind a path of the API."""
        try:
            self.version()
        except proxmox_api.FAILURES:
            raise CannotTellError("Proxmox cannot be asked", said_elsewhere=True) from None
        try:
            return self._once(path)
        except urllib.error.HTTPError as error:
            if error.code == 403:
                reason = f"the token may not read {path}"
                raise CannotTellError(reason, said_elsewhere=True) from None
            raise CannotTellError(f"Proxmox answers {path} with {error.reason}") from None
        except proxmox_api.FAILURES as error:
            raise CannotTellError(f"Proxmox does not answer {path}: {error}") from None

    def online(self) -> dict[str, bool]:
        """The hosts of the cluster, and whether each is online."""
        return {entry["node"]: entry.get("status") == "online" for entry in self.read("/nodes")}

    def guests(self) -> list[dict[str, Any]]:
        """Every guest that the token may see, as the API describes it."""
        found: list[dict[str, Any]] = self.read("/cluster/resources?type=vm")
        return found

    def strangers_on(self, host: str) -> list[dict[str, Any]]:
        """The running guests of a host that are not ours."""
        return [
            guest
            for guest in self.guests()
            if guest["node"] == host
            and guest.get("status") == "running"
            and self._owner not in proxmox_api.tags_of(guest)
        ]

    def keepers(self) -> set[str]:
        """The names of the castle's keepers, one for each data disk that outlived its machine."""
        tag = retained_disk.tag(self._owner)
        return {
            self._name_of(guest) for guest in self.guests() if tag in proxmox_api.tags_of(guest)
        }

    def hosts_of_machines(self) -> dict[str, str]:
        """By name: the host that each of our machines is on now."""
        found = {}
        for guest in self.guests():
            if self._owner in proxmox_api.tags_of(guest):
                with suppress(CannotTellError):  # a silent host: the others count all the same
                    found[self._name_of(guest)] = str(guest["node"])
        return found

    def own_machines(self) -> list[OwnMachine]:
        """The castle's own machines, as they are now."""
        ours = [guest for guest in self.guests() if self._owner in proxmox_api.tags_of(guest)]
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self._own, ours))

    def _name_of(self, guest: dict[str, Any]) -> str:
        """The name of one of our virtual machines.

        Proxmox lists a guest without its name for up to ten seconds after it is created, and after
        its host has been silent for five minutes (pvestatd reports names). Its config has it.
        """
        if name := guest.get("name"):
            return str(name)
        path = f"/nodes/{guest['node']}/qemu/{guest['vmid']}/config"
        return str(self.read(path).get("name", ""))

    def _own(self, guest: dict[str, Any]) -> OwnMachine:
        vm_id, host = int(guest["vmid"]), guest["node"]
        try:
            config = self.read(f"/nodes/{host}/qemu/{vm_id}/config")
        except CannotTellError:  # a host that is offline, for one: what the list says has to do
            config = {}
        return OwnMachine(
            vm_id=vm_id,
            host=host,
            running=guest.get("status") == "running",
            memory=int(guest.get("maxmem", 0)),
            address=_address(config.get("ipconfig0", "")),
            mac_address=config.get("net0", "").partition(",")[0].partition("=")[2].upper(),
            disks=_disks(config),
        )

    def _once(self, path: str) -> Any:
        with self._lock:
            known = self._answers.get(path)
            answer = known or self._answers.setdefault(path, Future())
        if known is None:
            try:
                answer.set_result(self._get(path))
            except Exception as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()  # what it says stays, the connection need not
                answer.set_exception(error)
        return answer.result()


def _address(ipconfig: str) -> IPv4Address | None:
    """The address of ``ip=192.168.1.155/24,gw=192.168.1.1``."""
    options = dict(part.partition("=")[::2] for part in ipconfig.split(","))
    try:
        return IPv4Address(options.get("ip", "").partition("/")[0])
    except AddressValueError:
        return None


def _disks(config: dict[str, Any]) -> dict[str, int]:
    """By storage: the sizes of ``local-lvm:vm-8010-disk-0,iothread=1,size=34G`` and the like."""
    sizes: dict[str, int] = {}
    for key, value in config.items():
        size = re.search(r"(?:^|,)size=(\d+)([KMGT]?)(?:,|$)", str(value))
        if _DISK.fullmatch(key) and size:
            storage = str(value).partition(":")[0]
            sizes[storage] = sizes.get(storage, 0) + int(size[1]) * _UNITS[size[2]]
    return sizes
