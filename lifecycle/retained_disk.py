"""A data disk that is not deleted with its node (``keep_data_disk_on_destroy``).

The disk is created before the VM of the node, which attaches it. On destroy, Pulumi only removes it
from the state, and this program never deletes it. A later stack with the same tag finds it again.
Talos finds its partition by label and never formats a disk that is already formatted
(siderolabs/talos v1.13.9 internal/app/machined/pkg/controllers/block/internal/volumes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi

from clients.errors import OperationError
from lifecycle.operations.context import make_endpoint
from lifecycle.operations.disk_holder import DiskHolder, name_of, tag
from lifecycle.provider import Provider, Resource
from settings.node import Node

if TYPE_CHECKING:
    from settings.groups import Endpoint

__all__ = ["RetainedDisk", "RetainedDiskProvider", "name_of", "tag"]

_FIXED = {
    "host": "proxmox host",
    "datastore": "proxmox.disk_datastore",
    "size_gib": "data_disk_gib",
}
"""Properties that cannot change, with the setting (or name) for messages."""


@dataclass(frozen=True, kw_only=True)
class RetainedDiskArgs:
    """Arguments of ``RetainedDisk``."""

    node: Node
    """The node, which must have a data disk."""
    stack_tag: str
    """The tag of all VMs of the stack."""
    datastore: str
    """The Proxmox storage of the disk."""
    proxmox: Endpoint
    """The Proxmox API; its token becomes a secret."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return {
            "path": None,
            "node": self.node.name,
            "vm_id": self.node.vm_id,
            "owner": self.stack_tag,
            "host": self.node.host,
            "datastore": self.datastore,
            "size_gib": self.node.data_disk_gib,
            "endpoint": self.proxmox.endpoint,
            "insecure": self.proxmox.insecure,
            "api_token": pulumi.Output.secret(self.proxmox.api_token.get_secret_value()),
        }


@dataclass(frozen=True, kw_only=True)
class RetainedDiskInputs:
    """What the provider gets."""

    node: str
    vm_id: int
    owner: str
    """The tag of all VMs of the stack."""
    host: str
    datastore: str
    size_gib: int
    endpoint: str
    insecure: bool
    api_token: str

    def disk_holder(self) -> DiskHolder:
        """The disk holder that owns the disk."""
        return DiskHolder(
            proxmox=make_endpoint(self.endpoint, self.api_token, insecure=self.insecure),
            stack_tag=self.owner,
            node=self.node,
            vm_id=self.vm_id,
            host=self.host,
            datastore=self.datastore,
            size_gib=self.size_gib,
        )


class RetainedDisk(Resource[RetainedDiskArgs]):
    """A data disk that belongs to a disk holder (``operations/disk_holder.py``). Set
    ``retain_on_delete``."""

    path: pulumi.Output[str]
    """The path of the disk in its storage."""


class RetainedDiskProvider(Provider[RetainedDiskInputs]):
    """create: find or create the disk; update: nothing; delete: nothing."""

    name = "RetainedDisk"
    inputs = RetainedDiskInputs
    id_input = "node"
    compared = ()
    stored = ("node", *_FIXED)

    def on_create(self, inputs: RetainedDiskInputs) -> Mapping[str, Any]:
        """Find or create the disk. Raises ``OperationError``."""
        return {"path": inputs.disk_holder().find_or_create_disk()}

    def refuse(self, olds: RetainedDiskInputs, news: RetainedDiskInputs) -> None:
        """Raise ``OperationError`` if a fixed property of the disk changes."""
        for key, label in _FIXED.items():
            old, new = getattr(olds, key), getattr(news, key)
            if old != new:
                raise OperationError(
                    f"{label}: the retained data disk of {news.node} has {old}, and cannot "
                    f"become {new} while it is retained. Nothing has been touched. Set it back to "
                    f"{old}."
                )
