"""Disk holders: placeholder VMs on Proxmox, never started, that own retained data disks.

Proxmox deletes with a VM only the disks that carry its VM id (proxmox/qemu-server
src/PVE/QemuServer.pm destroy_vm). So a retained disk belongs to a disk holder, and the VM of the
node only attaches the disk. A disk holder is found by its tag, and by the name and description in
its config. It has Proxmox's protection flag, and this program never deletes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import is_free, short_name
from clients.wait import NotYet, wait_until

if TYPE_CHECKING:
    from settings.groups import Endpoint

CREATE_TIMEOUT_S = 300
"""Seconds that Proxmox has to create a disk holder with its disk, for this run or another one."""
_ANSWER_TIMEOUT_S = 60
"""Seconds that Proxmox has to answer one request."""
DISK_KEY = "scsi0"
"""The key of the disk in the configuration of a disk holder."""
ID_OFFSET = 100_000
"""The VM id of a disk holder is that of its node plus this offset, or the next free id."""
HIGHEST_VM_ID = 999_999_999
_TAG_END = "-data"
"""End of the tag of a stack's disk holders."""
_MAX_TRIES = 100
_NAME_LENGTH = 58
"""Maximum characters of the node's name in the disk holder's name: Proxmox allows 63, and ``-data``
is added."""
_DESCRIPTION = re.compile(r"Retained data disk of (\S+) \(")
"""Start of a disk holder's description, which names the node."""
_EXISTS = "already exists"
"""Part of the error of Proxmox if the VM id of a new VM is taken."""


@dataclass(frozen=True)
class _Found:
    """A disk holder that exists."""

    vm_id: int
    host: str
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class DiskHolder:
    """The disk holder of one node."""

    proxmox: Endpoint
    stack_tag: str
    """The tag of all VMs of the stack."""
    node: str
    """Name of the node."""
    vm_id: int
    """The VM id of the node."""
    host: str
    """The Proxmox node that has both VMs."""
    datastore: str
    """The Proxmox storage of the disk."""
    size_gib: int
    """Size of the disk in GiB."""

    def find_or_create_disk(self) -> str:
        """Return the path of the disk in its storage. Raises ``OperationError``.

        Two runs at the same time create one disk holder: the second waits for it and takes it.
        """
        found = self._find(self._guests())
        if found is None:
            found = wait_until(self._find_or_create, CREATE_TIMEOUT_S, self._still_creating)
        if found.host != self.host:
            raise self._refusal(
                f"is on host {found.host}, but the settings place {self.node} on {self.host}",
                f"Set nodes.overrides.{short_name(self.node)}.host: {found.host}",
            )
        return self._path(found.config)

    def _guests(self) -> list[dict[str, Any]]:
        """All guests, as Proxmox lists them."""
        guests: list[dict[str, Any]] = self._request("/cluster/resources?type=vm")
        return guests

    def _find(self, guests: Iterable[dict[str, Any]]) -> _Found | None:
        """The disk holder of the node, ``None`` if it does not exist.

        Raises ``OperationError`` if this is not certain.
        """
        guests = list(guests)
        for guest in guests:
            self._refuse_without_tag(guest)
        tagged = [it for it in guests if tag(self.stack_tag) in proxmox_api.tags_of(it)]
        found = [it for it in map(self._read, tagged) if it is not None]
        if len(found) > 1:
            vms = " and ".join(f"VM {it.vm_id} on host {it.host}" for it in found)
            raise OperationError(
                f"{vms} each claim to own the retained data disk of {self.node}. Nothing has been "
                f"changed. Find out whose disk has the data. Remove the tag {tag(self.stack_tag)} "
                "from the others in Proxmox, then run `up` again."
            )
        return found[0] if found else None

    def _refuse_without_tag(self, guest: Mapping[str, Any]) -> None:
        """Raise ``OperationError`` for a guest with the name of the disk holder, but without a tag.

        Somebody may have removed the tag, and a new disk would be empty.
        """
        is_tagged = any(name.endswith(_TAG_END) for name in proxmox_api.tags_of(guest))
        if guest.get("name") == self._name and not is_tagged:
            raise OperationError(
                f"VM {guest['vmid']} on host {guest['node']} has the name of the VM that owns the "
                f"retained data disk of {self.node}, but not its tag. Nothing has been changed. If "
                f"it owns the disk, give it the tag {tag(self.stack_tag)} in Proxmox, otherwise "
                "another name. Then run `up` again."
            )

    def _read(self, guest: Mapping[str, Any]) -> _Found | None:
        """Read the config of a disk holder; ``None`` if it belongs to another node.

        The list of guests is not enough. For the first ten seconds of a VM, the list has no name,
        or the name of a deleted VM with the same id. If the host of a VM does not answer, the name
        is missing, too.
        """
        vm_id, host, listed_name = int(guest["vmid"]), str(guest["node"]), guest.get("name")
        try:
            config = self._request(f"/nodes/{host}/qemu/{vm_id}/config")
        except ProxmoxError as error:
            if listed_name not in (None, "", f"VM {vm_id}", self._name):
                return None
            raise OperationError(
                f"VM {vm_id} on host {host} may own the retained data disk of {self.node}, but "
                f"Proxmox cannot read its config: {error.detail}. Nothing has been changed. Start "
                f"host {host}, then run `up` again. If this host and its disks are lost, delete "
                f"/etc/pve/nodes/{host}/qemu-server/{vm_id}.conf on another host; `up` then "
                "creates an empty disk."
            ) from None
        name = str(config.get("name", ""))
        described = _DESCRIPTION.match(str(config.get("description", "")))
        owner_name = name_of(described[1]) if described else name
        if self._name not in (name, owner_name):
            return None
        if name != owner_name:
            raise OperationError(
                f"It is not clear which node owns the retained data disk of VM {vm_id} on host "
                f"{host}: its name is {name}, and its notes say that it belongs to "
                f"{described and described[1]}. Nothing has been changed. Correct the name or the "
                f"notes in Proxmox, or remove the tag {tag(self.stack_tag)} from a copy. Then run "
                "`up` again."
            )
        # Names of disk holders are shortened, so two nodes can have the same.
        if described and described[1] != self.node:
            return None
        return _Found(vm_id, host, config)

    def _find_or_create(self) -> _Found:
        """Find or create the disk holder. Raises ``NotYet`` while another run may create it."""
        vm_id = self._free_id()
        # Read after the free id: the list then has each VM with a lower id.
        guests = self._guests()
        if found := self._find(guests):
            return found
        for guest in guests:
            # Proxmox sets name and tags when the disks are complete.
            is_candidate = self._first_id <= int(guest["vmid"]) < vm_id
            if is_candidate and guest.get("lock") == "create":
                raise NotYet(f"VM {guest['vmid']} on host {guest['node']}")
        try:
            self._create_vm(vm_id)
        except ProxmoxError as error:
            if _EXISTS in error.detail:
                raise NotYet(f"VM {vm_id}") from None
            raise
        return _Found(vm_id, self.host, self._request(f"/nodes/{self.host}/qemu/{vm_id}/config"))

    def _still_creating(self, vm: str) -> OperationError:
        return OperationError(
            f"Proxmox has been creating {vm} for {CREATE_TIMEOUT_S} s. It may become VM "
            f"{self._name} with the retained data disk of {self.node}. Wait until it is complete, "
            "then run `up` again. If no task creates it any more, unlock and remove it in Proxmox."
        )

    def _create_vm(self, vm_id: int) -> None:
        """Create the disk holder with its disk."""
        form = {
            "vmid": str(vm_id),
            "name": self._name,
            "tags": tag(self.stack_tag),
            "description": f"Retained data disk of {self.node} ({self.stack_tag}); never started",
            "memory": "16",
            "onboot": "0",
            "protection": "1",
            "scsihw": "virtio-scsi-single",
            DISK_KEY: f"{self.datastore}:{self.size_gib},discard=on,ssd=1",
        }
        task = self._request(f"/nodes/{self.host}/qemu", "POST", form)
        if failure := proxmox_api.wait_for_task(self._request, task, CREATE_TIMEOUT_S):
            raise OperationError(
                f"Proxmox could not create VM {self._name}: {failure}. It owns the retained data "
                f"disk of {self.node}. Correct this in Proxmox, then run `up` again."
            )

    @property
    def _first_id(self) -> int:
        """The lowest VM id for the disk holder."""
        step = ID_OFFSET if self.vm_id + ID_OFFSET + _MAX_TRIES <= HIGHEST_VM_ID else -ID_OFFSET
        return self.vm_id + step

    def _free_id(self) -> int:
        end = self._first_id + _MAX_TRIES
        for vm_id in range(self._first_id, end):
            if is_free(self._request, vm_id):
                return vm_id
        raise OperationError(
            f"No VM id is free for {self._name} (retained data disk of {self.node}): ids from "
            f"{self._first_id} to {end - 1} are taken. Free one of them."
        )

    def _path(self, config: Mapping[str, Any]) -> str:
        if DISK_KEY not in config:
            raise self._refusal(
                f"is missing: this VM has no {DISK_KEY}", "Check this VM in Proxmox"
            )
        volume, _, options = config[DISK_KEY].partition(",")
        datastore, _, path = volume.partition(":")
        if datastore != self.datastore:
            raise self._refusal(
                f"is on the storage {datastore}, not on {self.datastore}",
                f"Set proxmox.disk_datastore: {datastore}",
            )
        size = re.search(r"(?:^|,)size=(\d+)G(?:,|$)", options)
        if size is None or int(size[1]) != self.size_gib:
            found = f"{size[1]} GiB" if size else "another size"
            raise self._refusal(
                f"has {found}, but the settings ask for {self.size_gib} GiB",
                f"Set data_disk_gib: {size[1]}" if size else "Check the disk in Proxmox",
            )
        return str(path)

    def _request(
        self, path: str, method: str = "GET", form: Mapping[str, str] | None = None
    ) -> Any:
        return proxmox_api.caller(self.proxmox, _ANSWER_TIMEOUT_S)(path, method, form)

    def _refusal(self, reason: str, fix: str) -> OperationError:
        return OperationError(
            f"The retained data disk of {self.node} (VM {self._name} in Proxmox) {reason}. {fix}. "
            f"To start with an empty disk instead, remove the protection of VM {self._name} in "
            f"Proxmox and then remove {self._name} there."
        )

    @property
    def _name(self) -> str:
        return name_of(self.node)


def name_of(node: str) -> str:
    """The name of the disk holder of a node."""
    return f"{node[:_NAME_LENGTH]}-data"


def tag(stack_tag: str) -> str:
    """The tag of a stack's disk holders. It is not the tag of the nodes, because the doctor takes
    VMs with that tag for nodes."""
    return f"{stack_tag}{_TAG_END}"
