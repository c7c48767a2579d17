"""A node's data disk that outlives the node: ``keep_data_disk_on_destroy``.

It is there before the node's machine, which uses it, and stays when the machine goes: the engine
forgets it, and nothing of ours deletes it. The next castle finds it again.

Leaves out what is on it: Talos finds its partition by its label, and formats nothing that is
formatted (siderolabs/talos v1.13.9 internal/app/machined/pkg/controllers/block/internal/volumes).
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
"""What a kept disk has from its birth on, and what that is for a person."""


class RetainedDisk(dynamic.Resource, module=MODULE, name="RetainedDisk"):
    """A data disk that belongs to a keeper."""

    path: pulumi.Output[str]
    """The disk's path in its storage."""

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
        """Find the disk of ``node``, or make it; ``stack_tag`` is the identity of the castle."""
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
    """Finds or creates the disk, and never deletes it."""

    name = "RetainedDisk"
    id_input = "node"
    compared = ()
    kept = ("node", *_FIXED)

    def on_create(self, props: dict[str, Any]) -> Mapping[str, Any]:
        """Find the disk, or create it; raises ``OperationError``."""
        return {"path": _disk_holder(props).find_or_create_disk()}

    def refuse(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Raise ``OperationError`` if a property of the disk is to change."""
        for key, what in _FIXED.items():
            has, wanted = olds[key], news[key]
            if has != wanted:
                raise OperationError(
                    f"{what}: the kept data disk of {news['node']} has {has}, and cannot become "
                    f"{wanted} while it is retained. Nothing has been touched. Set it back to "
                    f"{has}."
                )


def _disk_holder(props: Mapping[str, Any]) -> DiskHolder:
    # Imported here: no other part of a dynamic provider needs the models of the settings.
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
