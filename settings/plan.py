"""Computes the nodes from the settings: names, addresses, VM ids and Proxmox hosts.

Name, address and VM id of a node depend only on its number. An existing VM stays on the host that
the Pulumi state records, so a new node, or a new host in ``proxmox.hosts``, moves no existing VM.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from settings.groups import Cluster, ControlPlanes, Nodes, Proxmox, Workers
from settings.node import Node, Role

WORKER_ID_OFFSET = 10
"""Distance from ``proxmox.first_vm_id`` to the first worker's VM id; leaves room for five control
planes."""


def _plan_role(
    role: Role,
    group: ControlPlanes | Workers,
    hosts: Sequence[str],
    first_vm_id: int,
    cluster: Cluster,
    nodes: Nodes,
    running_hosts: Mapping[str, str],
) -> list[Node]:
    names = [f"{cluster.name}-{role}-{index + 1}" for index in range(group.count)]
    planned_hosts = choose_hosts(names, hosts, running_hosts)
    planned = []
    for index in range(group.count):
        short_name = f"{role}-{index + 1}"
        override = nodes.overrides.get(short_name)
        assert group.first_address is not None, "checked when the settings are loaded"
        values: dict[str, Any] = {
            "address": group.first_address + index,
            "vm_id": first_vm_id + index,
            "host": planned_hosts[names[index]],
            "cores": group.cores,
            "memory_mib": group.memory_mib,
            "os_disk_gib": group.os_disk_gib,
            "data_disk_gib": group.data_disk_gib,
            "keep_data_disk_on_destroy": group.keep_data_disk_on_destroy,
            "patches": group.patches,
        }
        # Only keys that the stack file sets apply. `data_disk_gib: null` removes the disk.
        for key in override.model_fields_set if override else ():
            value = getattr(override, key)
            if key == "patches":
                values[key] = (*group.patches, *(value or ()))
            elif value is not None or key == "data_disk_gib":
                values[key] = value
        planned.append(Node(name=names[index], short_name=short_name, role=role, **values))
    return planned


def choose_hosts(
    names: Sequence[str], hosts: Sequence[str], running_hosts: Mapping[str, str]
) -> dict[str, str]:
    """Return the Proxmox host of each VM of one role, before overrides.

    A VM that runs on one of ``hosts`` stays there. Any other VM goes to the host with the fewest
    VMs of the role; if several hosts have equally few, to the first of them. An override of
    ``host`` does not affect the other VMs, because overrides apply after this function.
    """
    placed = {name: running_hosts[name] for name in names if running_hosts.get(name) in hosts}
    counts = Counter(placed.values())
    for name in names:
        if name not in placed:
            placed[name] = min(hosts, key=lambda host: counts[host])
            counts[placed[name]] += 1
    return placed


def default_replicas(nodes: Sequence[Node]) -> int:
    """Copies of each volume if ``longhorn.replicas`` is not set: 2, or 1 with one data disk."""
    return min(2, sum(node.data_disk_gib is not None for node in nodes))


def plan_nodes(
    cluster: Cluster,
    nodes: Nodes,
    proxmox: Proxmox,
    running_hosts: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Node, ...]:
    """Compute all nodes, control planes first.

    ``running_hosts`` is the Proxmox host of each existing VM, by VM name. If several hosts have
    equally few VMs of a role, a new control plane takes the first of them in the list and a new
    worker takes the last: with two hosts the first worker is not beside the only control plane.
    """
    hosts, first = proxmox.hosts, proxmox.first_vm_id
    workers = nodes.workers
    return (
        *_plan_role(
            Role.CONTROL_PLANE, nodes.control_planes, hosts, first, cluster, nodes, running_hosts
        ),
        *_plan_role(
            Role.WORKER,
            workers,
            hosts[::-1],
            first + WORKER_ID_OFFSET,
            cluster,
            nodes,
            running_hosts,
        ),
    )
