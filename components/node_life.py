"""A node's life: what is done to it when its Talos or its hardware changes, and when it leaves.

One resource a node, chained: the engine takes one node at a time and stops at the first that does
not come back. A new one does nothing, for a machine is born as it is declared. It comes *before*
the node's machine config: a config may hold what only the new Talos understands. It reaches the
cluster through Talos alone, so nothing of it waits for the health gate.

Leaves out how it is done (``upkeep``), Kubernetes' version, and the machine itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import dynamic

from components import node_limits
from components.mutual_tls import inputs_of
from lifecycle.provider import MODULE, Provider
from settings import Node, Role, Settings, compatibility
from upkeep import node as upkeep
from upkeep import talosctl
from upkeep.errors import UpkeepError


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What all nodes' lives have in common."""

    cluster: str
    """Identity of the castle: names its lock and its snapshots."""
    vip: str
    """Virtual IP of the Kubernetes API."""
    talos: str
    """Talos version, with its leading v."""
    control_planes: str
    """``NAME=ADDRESS,...`` of all control planes: where the cluster is asked."""
    age_recipient: str | None
    """Whom snapshots of etcd are encrypted for; they are kept in plain where there is none."""
    proxmox_endpoint: str
    """Proxmox' API, through which a machine is power-cycled."""
    proxmox_insecure: bool
    """Whether its certificate is taken as it is."""
    proxmox_token: pulumi.Output[str]
    """API token (secret)."""
    drain_s: int
    """Seconds that pods have to leave a node."""
    return_s: int
    """Seconds that a node has to come back."""
    rebuild_s: int
    """Seconds that Longhorn has to rebuild or move replicas."""

    @classmethod
    def of(cls, settings: Settings) -> Upkeep:
        """What a stack asks for."""
        return cls(
            cluster=settings.owner,
            vip=str(settings.cluster.vip),
            talos=settings.cluster.talos,
            control_planes=",".join(
                f"{node.name}={node.address}"
                for node in settings.machines
                if node.role is Role.CONTROL_PLANE
            ),
            age_recipient=settings.age_recipient,
            proxmox_endpoint=settings.proxmoxve.endpoint,
            proxmox_insecure=settings.proxmoxve.insecure,
            proxmox_token=pulumi.Output.secret(settings.proxmoxve.api_token.get_secret_value()),
            drain_s=settings.upkeep.drain_s,
            return_s=settings.upkeep.return_s,
            rebuild_s=settings.upkeep.rebuild_s,
        )


class NodeLife(dynamic.Resource, module=MODULE, name="NodeLife"):
    """A node that is upgraded, power-cycled and let go with care."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: Node,
        upkeep: Upkeep,
        datastore: str,
        installer: pulumi.Input[str],
        credentials: pulumi.Output[Any],
        after: Sequence[pulumi.Resource],
        identity: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> None:
        """Look after ``node``, once ``after`` are done.

        ``datastore`` has its disks, ``installer`` is the install image; ``credentials`` are a
        ``credentials.Client`` of Talos. With the cluster's ``identity`` it goes unasked when the
        whole castle goes.
        """
        super().__init__(
            NodeLifeProvider(),
            resource_name,
            {
                **vars(upkeep),
                "node": node.name,
                "address": str(node.address),
                "control_plane": node.role is Role.CONTROL_PLANE,
                "host": node.host,
                "vm_id": node.vm_id,
                "cores": node.cores,
                "memory_mib": node.memory_mib,
                "os_disk_gib": node.os_disk_gib,
                "data_disk_gib": node.data_disk_gib,
                "datastore": datastore,
                "installer": installer,
                **inputs_of(credentials),
            },
            pulumi.ResourceOptions(parent=parent, depends_on=after, deleted_with=identity),
        )


TALOS = ("talos", "installer")
"""Inputs whose change is an upgrade."""
DISKS = ("os_disk_gib", "data_disk_gib")
"""Inputs whose change is a boot: Talos grows a partition only then (siderolabs/talos v1.13.9
internal/app/machined/pkg/controllers/block/volume_manager.go)."""
HARDWARE = ("cores", "memory_mib", *DISKS)
"""Inputs whose change is a power-cycle."""


class NodeLifeProvider(Provider):
    """Does nothing on create, everything on update, and takes leave on delete."""

    name = "NodeLife"
    id_input = "node"
    # One more control plane is no change for the others. And where a node's disks are never
    # changes: it is written down on create, or with the next change.
    ignored = ("control_planes", "datastore")

    def refuse(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Raise ``UpkeepError`` for a version that Talos cannot be upgraded to, and for what a
        running node cannot become (``node_limits.py``)."""
        if refusal := compatibility.talos_step(olds["talos"], news["talos"]):
            raise UpkeepError(f"{refusal} Nothing has been touched.")
        if refusal := node_limits.refusal(olds, news):
            raise UpkeepError(refusal)

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is needed, and is missing or too old."""
        if _asked(changed, TALOS) or _asked(changed, HARDWARE):
            talosctl.require(news["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Drain, upgrade, power-cycle, await: as far as the changes ask for it."""
        changed = self.changed(olds, news)
        if _asked(changed, TALOS) or _asked(changed, HARDWARE):
            upkeep.tend(news, grows=_asked(changed, DISKS))

    def on_delete(self, props: dict[str, Any]) -> None:
        """Let the node leave its cluster; never asked when the whole castle goes."""
        upkeep.leave(props)


def _asked(changed: Sequence[str], keys: Sequence[str]) -> bool:
    return any(key in keys for key in changed)
