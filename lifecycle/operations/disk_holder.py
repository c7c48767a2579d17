"""Disk holders: placeholder VMs on Proxmox, never started, that own retained data disks.

Proxmox deletes with a VM only the disks that carry its VM id (proxmox/qemu-server
src/PVE/QemuServer.pm destroy_vm). So a retained disk belongs to a disk holder, and the VM of the
node only attaches the disk. A disk holder is found by tag and name. It has Proxmox's protection
flag, and this program never deletes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from clients.proxmox.guests import is_free

if TYPE_CHECKING:
    from settings.groups import Endpoint

CREATE_TIMEOUT_S = 300
"""Seconds that Proxmox has to create a disk holder with its disk."""
DISK_KEY = "scsi0"
"""The key of the disk in the configuration of a disk holder."""
ID_OFFSET = 100_000
"""The VM id of a disk holder is that of its node plus this offset, or the next free id."""
HIGHEST_VM_ID = 999_999_999
_MAX_TRIES = 100
_NAME_LENGTH = 58
"""Maximum characters of the node's name in the disk holder's name: Proxmox allows 63, and ``-data``
is added."""


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
        """Return the path of the disk in its storage. Raises ``OperationError``."""
        found = self._find()
        if found is None:
            vm_id = self._create_vm()
        elif found["node"] != self.host:
            raise self._refusal(
                f"is on host {found['node']}, but the settings place {self.node} on {self.host}",
                f"Set nodes.overrides.{self._short_name}.host: {found['node']}",
            )
        else:
            vm_id = int(found["vmid"])
        return self._path(vm_id)

    def _find(self) -> dict[str, Any] | None:
        """The disk holder in Proxmox's list of guests, ``None`` if missing."""
        for guest in self._request("/cluster/resources?type=vm"):
            tags = proxmox_api.tags_of(guest)
            if guest.get("name") == self._name and tag(self.stack_tag) in tags:
                return dict(guest)
        return None

    def _create_vm(self) -> int:
        """Create the disk holder with its disk; returns its VM id."""
        vm_id = self._free_id()
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
        return vm_id

    def _free_id(self) -> int:
        step = ID_OFFSET if self.vm_id + ID_OFFSET + _MAX_TRIES <= HIGHEST_VM_ID else -ID_OFFSET
        for vm_id in range(self.vm_id + step, self.vm_id + step + _MAX_TRIES):
            if is_free(self._request, vm_id):
                return vm_id
        raise OperationError(
            f"No VM id is free for {self._name} (retained data disk of {self.node}): ids from "
            f"{self.vm_id + step} to {self.vm_id + step + _MAX_TRIES - 1} are taken. Free one of "
            "them."
        )

    def _path(self, vm_id: int) -> str:
        config = self._request(f"/nodes/{self.host}/qemu/{vm_id}/config")
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
        return proxmox_api.caller(self.proxmox, CREATE_TIMEOUT_S)(path, method, form)

    def _refusal(self, reason: str, fix: str) -> OperationError:
        return OperationError(
            f"The retained data disk of {self.node} (VM {self._name} in Proxmox) {reason}. {fix}. "
            f"To start with an empty disk instead, remove the protection of VM {self._name} in "
            f"Proxmox and then remove {self._name} there."
        )

    @property
    def _name(self) -> str:
        return name_of(self.node)

    @property
    def _short_name(self) -> str:
        found = re.search(r"(control-plane|worker)-\d+$", self.node)
        return found[0] if found else self.node


def name_of(node: str) -> str:
    """The name of the disk holder of a node."""
    return f"{node[:_NAME_LENGTH]}-data"


def tag(stack_tag: str) -> str:
    """The tag of a stack's disk holders. It is not the tag of the nodes, because ``make down``
    removes VMs with that tag."""
    return f"{stack_tag}-data"
