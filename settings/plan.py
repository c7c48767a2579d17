"""From the groups of settings to machines: names, addresses, VM ids and hosts, all declared.

A machine's place depends on its own number alone, never on how many others there are: a fourth
worker, or a third control plane, moves nothing that exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settings.models import Cluster, ControlPlanes, Nodes, Proxmox, Workers

WORKER_ID_OFFSET = 10
"""Workers' VM ids begin this much above ``first_vm_id``, so that up to five control planes fit."""


class Role(StrEnum):
    """What a machine is in the cluster."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine: its virtual machine, its Talos config and its Kubernetes node, by one name."""

    name: str
    """Name of the VM, the host and the Kubernetes node: ``castle-worker-3``."""
    short_name: str
    """The name within the stack file: ``worker-3``."""
    role: Role
    address: IPv4Address
    vm_id: int
    host: str
    """The Proxmox node that it runs on."""
    cores: int
    memory_mib: int
    os_disk_gib: int
    data_disk_gib: int | None
    keep_data_disk_on_destroy: bool = False
    """Whether the data disk outlives the machine."""
    patches: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """Patches of its machine config: those of its role, then its own."""


def _group(
    role: Role,
    group: ControlPlanes | Workers,
    hosts: tuple[str, ...],
    first_vm_id: int,
    cluster: Cluster,
    nodes: Nodes,
) -> list[Node]:
    planned = []
    for index in range(group.count):
        short_name = f"{role}-{index + 1}"
        override = nodes.overrides.get(short_name)
        assert group.first_address is not None, "checked when the settings are loaded"
        values: dict[str, Any] = {
            "address": group.first_address + index,
            "vm_id": first_vm_id + index,
            "host": hosts[index % len(hosts)],
            "cores": group.cores,
            "memory_mib": group.memory_mib,
            "os_disk_gib": group.os_disk_gib,
            "data_disk_gib": group.data_disk_gib,
            "keep_data_disk_on_destroy": group.keep_data_disk_on_destroy,
            "patches": group.patches,
        }
        # Only the keys that were written count: `data_disk_gib: null` takes the disk away.
        for key in override.model_fields_set if override else ():
            value = getattr(override, key)
            if key == "patches":
                values[key] = (*group.patches, *(value or ()))
            elif value is not None or key == "data_disk_gib":
                values[key] = value
        name = f"{cluster.name}-{short_name}"
        planned.append(Node(name=name, short_name=short_name, role=role, **values))
    return planned


def default_replicas(nodes: Sequence[Node]) -> int:
    """Copies of each volume if ``longhorn.replicas`` is not set: 2, or 1 with one data disk."""
    return min(2, sum(node.data_disk_gib is not None for node in nodes))


def plan_nodes(cluster: Cluster, nodes: Nodes, proxmox: Proxmox) -> tuple[Node, ...]:
    """Lay out every machine.

    Control planes take the hosts from the front, workers from the back, so that a house with two
    hosts does not put its first worker beside its only control plane.
    """
    first = proxmox.first_vm_id
    return (
        *_group(Role.CONTROL_PLANE, nodes.control_planes, proxmox.hosts, first, cluster, nodes),
        *_group(
            Role.WORKER,
            nodes.workers,
            proxmox.hosts[::-1],
            first + WORKER_ID_OFFSET,
            cluster,
            nodes,
        ),
    )
