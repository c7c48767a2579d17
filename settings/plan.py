"""From the groups of settings to machines: names, addresses, VM ids and hosts.

Name, address and VM id of a machine depend on its number alone. So does its host until the machine
exists. From then on it stays on the host that the Pulumi state has it on: one more machine, or one
more host in ``proxmox.hosts``, moves no machine that exists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from settings.groups import Cluster, ControlPlanes, Nodes, Proxmox, Workers
from settings.node import Node, Role

WORKER_ID_OFFSET = 10
"""Workers' VM ids begin this much above ``first_vm_id``, so that up to five control planes fit."""


def _group(
    role: Role,
    group: ControlPlanes | Workers,
    hosts: Sequence[str],
    first_vm_id: int,
    cluster: Cluster,
    nodes: Nodes,
    running_hosts: Mapping[str, str],
) -> list[Node]:
    names = [f"{cluster.name}-{role}-{index + 1}" for index in range(group.count)]
    homes = place(names, hosts, running_hosts)
    planned = []
    for index in range(group.count):
        short_name = f"{role}-{index + 1}"
        override = nodes.overrides.get(short_name)
        assert group.first_address is not None, "checked when the settings are loaded"
        values: dict[str, Any] = {
            "address": group.first_address + index,
            "vm_id": first_vm_id + index,
            "host": homes[names[index]],
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
        planned.append(Node(name=names[index], short_name=short_name, role=role, **values))
    return planned


def place(
    names: Sequence[str], hosts: Sequence[str], running_hosts: Mapping[str, str]
) -> dict[str, str]:
    """Return the host of each machine of one role, before overrides.

    A machine that runs on one of ``hosts`` stays there. Any other goes to the host with the fewest
    machines of the role; if several have as few, to the first of them. An override of a new machine
    does not shift the hosts of the others: the machine still counts on the host it would have got.
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
    """Lay out every machine.

    ``running_hosts`` is the Proxmox host of each machine that exists, by VM name. New control
    planes take the hosts from the front of the list, new workers from the back: with two hosts the
    first worker is not on the host of the only control plane.
    """
    hosts, first = proxmox.hosts, proxmox.first_vm_id
    workers = nodes.workers
    return (
        *_group(
            Role.CONTROL_PLANE, nodes.control_planes, hosts, first, cluster, nodes, running_hosts
        ),
        *_group(
            Role.WORKER,
            workers,
            hosts[::-1],
            first + WORKER_ID_OFFSET,
            cluster,
            nodes,
            running_hosts,
        ),
    )
