"""A data disk that is not deleted with its node (``keep_data_disk_on_destroy``).

The disk is created before the VM of the node, which attaches it. On destroy, Pulumi only removes it
from the state, and this program never deletes it. A later stack with the same tag finds it again.
Talos finds its partition by label and never formats a disk that is already formatted
(siderolabs/talos v1.13.9 internal/app/machined/pkg/controllers/block/internal/volumes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi import dynamic

from clients.errors import OperationError
from lifecycle.operations.disk_holder import DiskHolder, name_of, tag
from lifecycle.provider import MODULE, Provider
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


class RetainedDisk(dynamic.Resource, module=MODULE, name="RetainedDisk"):
    """A data disk that belongs to a disk holder (``operations/disk_holder.py``)."""

    path: pulumi.Output[str]
    """The path of the disk in its storage."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: Node,
        stack_tag: str,
        datastore: str,
        proxmox: Endpoint,
        parent: pulumi.Resource,
    ) -> None:
        """Find or create the disk of ``node``. ``datastore`` is its Proxmox storage; ``stack_tag``
        is the tag of all VMs of the stack."""
        super().__init__(
            RetainedDiskProvider(),
            resource_name,
            {
                "path": None,
                "node": node.name,
                "vm_id": node.vm_id,
                "owner": stack_tag,
                "host": node.host,
                "datastore": datastore,
                "size_gib": node.data_disk_gib,
                "endpoint": proxmox.endpoint,
                "insecure": proxmox.insecure,
                "api_token": pulumi.Output.secret(proxmox.api_token.get_secret_value()),
            },
            pulumi.ResourceOptions(parent=parent, retain_on_delete=True),
        )


class RetainedDiskProvider(Provider):
    """create: find or create the disk; update: nothing; delete: nothing."""

    name = "RetainedDisk"
    id_input = "node"
    compared = ()
    stored = ("node", *_FIXED)

    def on_create(self, props: dict[str, Any]) -> Mapping[str, Any]:
        """Find or create the disk. Raises ``OperationError``."""
        return {"path": _disk_holder(props).find_or_create_disk()}

    def refuse(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Raise ``OperationError`` if a fixed property of the disk changes."""
        for key, label in _FIXED.items():
            old, new = olds[key], news[key]
            if old != new:
                raise OperationError(
                    f"{label}: the retained data disk of {news['node']} has {old}, and cannot "
                    f"become {new} while it is retained. Nothing has been touched. Set it back to "
                    f"{old}."
                )


def _disk_holder(props: Mapping[str, Any]) -> DiskHolder:
    # Imported here, because the settings models would slow down the start of every dynamic
    # provider.
    from settings.groups import Endpoint

    return DiskHolder(
        proxmox=Endpoint(
            endpoint=props["endpoint"], apiToken=props["api_token"], insecure=props["insecure"]
        ),
        stack_tag=props["owner"],
        node=props["node"],
        vm_id=int(props["vm_id"]),
        host=props["host"],
        datastore=props["datastore"],
        size_gib=int(props["size_gib"]),
    )
