"""Keepers: machines of Proxmox that never run, and to which data disks belong that are kept.

Proxmox frees with a machine the volumes whose names bear its id, and no others (proxmox/qemu-server
src/PVE/QemuServer.pm destroy_vm). So a disk that shall outlive its node belongs to a keeper, and
the node's machine only uses it. A keeper is found by its tag and its name, is protected against
removal by hand, and is never deleted by us.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api

if TYPE_CHECKING:
    from settings.groups import Endpoint

LIMIT = 300
"""Seconds that Proxmox has to make a keeper and its disk."""
DISK = "scsi0"
"""Where a keeper has its one disk."""
ID_OFFSET = 100_000
"""A keeper's VM id is so much above its node's, or the next free one."""
HIGHEST_ID = 999_999_999
_TRIES = 100
_LONGEST = 58
"""Characters of a node's name in its keeper's: a name has 63, and ``-data`` is added."""


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """The keeper of one node."""

    proxmox: Endpoint
    stack_tag: str
    """Identity of the castle."""
    node: str
    """The node's name."""
    vm_id: int
    """The node's VM id."""
    host: str
    """The Proxmox node that both are on."""
    datastore: str
    """Storage of the disk."""
    size_gib: int

    def disk(self) -> str:
        """The disk's path in its storage. Creates the disk if it is missing. Raises
        ``OperationError``.
        """
        found = self._find()
        if found is None:
            vm_id = self._make()
        elif found["node"] != self.host:
            raise self._refusal(
                f"lies on {found['node']}, and {self.node} is to be on {self.host}",
                f"write nodes.overrides.{self._short}.host: {found['node']}",
            )
        else:
            vm_id = int(found["vmid"])
        return self._path(vm_id)

    def _find(self) -> dict[str, Any] | None:
        """The keeper among all guests, if there is one."""
        for guest in self._ask("/cluster/resources?type=vm"):
            tags = proxmox_api.tags_of(guest)
            if guest.get("name") == self._name and tag(self.stack_tag) in tags:
                return dict(guest)
        return None

    def _make(self) -> int:
        vm_id = self._free_id()
        form = {
            "vmid": str(vm_id),
            "name": self._name,
            "tags": tag(self.stack_tag),
            "description": f"Keeps the data disk of {self.node} ({self.stack_tag}); never started",
            "memory": "16",
            "onboot": "0",
            "protection": "1",
            "scsihw": "virtio-scsi-single",
            DISK: f"{self.datastore}:{self.size_gib},discard=on,ssd=1",
        }
        self._await(self._ask(f"/nodes/{self.host}/qemu", "POST", form))
        return vm_id

    def _free_id(self) -> int:
        step = ID_OFFSET if self.vm_id + ID_OFFSET + _TRIES <= HIGHEST_ID else -ID_OFFSET
        for vm_id in range(self.vm_id + step, self.vm_id + step + _TRIES):
            try:
                self._call(f"/cluster/nextid?vmid={vm_id}")
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == http.client.BAD_REQUEST:
                    continue  # "VM ... already exists"
                raise self._told(error) from None
            return vm_id
        raise OperationError(f"No VM id from {self.vm_id + step} on is free for {self._name}.")

    def _path(self, vm_id: int) -> str:
        config = self._ask(f"/nodes/{self.host}/qemu/{vm_id}/config")
        if DISK not in config:
            raise self._refusal(f"is not there: no {DISK}", "Look at it in Proxmox")
        volume, _, options = config[DISK].partition(",")
        datastore, _, path = volume.partition(":")
        if datastore != self.datastore:
            raise self._refusal(
                f"lies on the storage {datastore}, not on {self.datastore}",
                f"write proxmox.disk_datastore: {datastore}",
            )
        size = re.search(r"(?:^|,)size=(\d+)G(?:,|$)", options)
        if size is None or int(size[1]) != self.size_gib:
            found = f"{size[1]} GiB" if size else "another size"
            raise self._refusal(
                f"has {found}, and {self.size_gib} GiB are asked for",
                f"write data_disk_gib: {size[1]}" if size else "look at it in Proxmox",
            )
        return str(path)

    def _await(self, task: str) -> None:
        try:
            failure = proxmox_api.wait_for(self._ask, task, LIMIT)
        except TimeoutError:
            raise OperationError(f"Proxmox did not make {self._name} within {LIMIT} s.") from None
        if failure:
            raise OperationError(f"Proxmox could not make {self._name}: {failure}.")

    def _ask(self, path: str, method: str = "GET", form: Mapping[str, str] | None = None) -> Any:
        try:
            return self._call(path, method, form)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._told(error) from None
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise OperationError(
                f"Proxmox at {self.proxmox.endpoint} does not answer as it should: {error}."
            ) from None

    def _call(self, path: str, method: str = "GET", form: Mapping[str, str] | None = None) -> Any:
        return proxmox_api.caller(self.proxmox, LIMIT)(path, method, form)

    def _told(self, error: urllib.error.HTTPError) -> OperationError:
        return OperationError(
            f"The kept disk of {self.node}: Proxmox answers {error.code} {error.reason}."
        )

    def _refusal(self, reason: str, fix: str) -> OperationError:
        return OperationError(
            f"The kept data disk of {self.node} ({self._name} in Proxmox) {reason}. {fix}; or, to "
            f"begin with a blank disk, remove {self._name} there, its protection first."
        )

    @property
    def _name(self) -> str:
        return name_of(self.node)

    @property
    def _short(self) -> str:
        found = re.search(r"(control-plane|worker)-\d+$", self.node)
        return found[0] if found else self.node


def name_of(node: str) -> str:
    """The name of a node's keeper."""
    return f"{node[:_LONGEST]}-data"


def tag(stack_tag: str) -> str:
    """The tag of a castle's keepers; never that of its machines, which ``make down`` removes."""
    return f"{stack_tag}-data"
