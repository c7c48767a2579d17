"""A node's life: what is done to it when its Talos or its hardware changes, and when it leaves.

One resource a node, chained: the engine takes one node at a time and stops at the first that does
not come back. A new one does nothing, for a machine is born as it is declared. It comes *before*
the node's machine config: a config may hold what only the new Talos understands. It reaches the
cluster through Talos alone, so nothing of it waits for the health gate.

Leaves out how it is done (``upkeep``), Kubernetes' version, and the machine itself.

The state names ``NodeLifeProvider`` by this module: a castle that was built before a move of it
could not be changed after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import dynamic

from components.mutual_tls import inputs_of
from settings import Node, Role, Settings
from upkeep import node as upkeep
from upkeep import talosctl


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


class NodeLife(dynamic.Resource, module="castle", name="NodeLife"):
    """A node that is upgraded, power-cycled and let go with care."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: Node,
        upkeep: Upkeep,
        datastore: str,
        installer: pulumi.Input[str],
        has_come_up: bool,
        credentials: pulumi.Output[Any],
        after: Sequence[pulumi.Resource],
        identity: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> None:
        """Look after ``node``, once ``after`` are done.

        ``datastore`` has its disks, ``installer`` is the install image; ``credentials`` are a
        ``credentials.Client`` of Talos; ``has_come_up`` says whether the node was ready once. With
        the cluster's ``identity`` it goes unasked when the whole castle goes.
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
                "has_come_up": has_come_up,
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
_UNCOMPARED = ("__provider", "control_planes", "datastore", "has_come_up")
"""Inputs whose change alone is no change of the node: another control plane is only one more
endpoint."""


class NodeLifeProvider(dynamic.ResourceProvider):
    """Does nothing on create, everything on update, and takes leave on delete."""

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Write down how the node is born."""
        return dynamic.CreateResult(props["node"], _kept(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Tell whether anything changes."""
        changed = [key for key in _kept(news) if _differs(key, olds, news)]
        if news["has_come_up"] and (_asked(changed, TALOS) or _asked(changed, HARDWARE)):
            talosctl.require(news["talos"])
        return dynamic.DiffResult(changes=bool(changed), replaces=[])

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Drain, upgrade, power-cycle, await: as far as the changes ask for it.

        A node that has never come up needs none of it: its VM is created with the new values.
        """
        changed = [key for key in _kept(news) if _differs(key, olds, news)]
        if news["has_come_up"] and (_asked(changed, TALOS) or _asked(changed, HARDWARE)):
            upkeep.tend(news, grows=_asked(changed, DISKS))
        return dynamic.UpdateResult(_kept(news))

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Let the node leave its cluster; never asked when the whole castle goes."""
        upkeep.leave(props)


def _asked(changed: list[str], keys: Sequence[str]) -> bool:
    return any(key in keys for key in changed)


def _differs(key: str, olds: dict[str, Any], news: dict[str, Any]) -> bool:
    return key not in _UNCOMPARED and olds.get(key) != news.get(key)


def _kept(props: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in props.items() if key != "__provider"}
