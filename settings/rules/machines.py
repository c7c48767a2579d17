"""Rules on machines: their ids, disks and overrides."""

from __future__ import annotations

from collections.abc import Iterator

from settings.charts import Longhorn
from settings.groups import Cluster, Nodes, Proxmox
from settings.node import Node, Role
from settings.plan import WORKER_ID_OFFSET, plan_nodes
from settings.problems import Problem
from settings.rules.addresses import node_path
from settings.values import CONTROL_PLANE_CORES, CONTROL_PLANE_MIB


def vm_ids_free_of_overlap(cluster: Cluster, nodes: Nodes, proxmox: Proxmox) -> Iterator[Problem]:
    """Each machine has a VM id of its own."""
    taken: dict[int, Node] = {}
    for node in plan_nodes(cluster, nodes, proxmox):
        other = taken.setdefault(node.vm_id, node)
        if other is not node:
            # The one with an override is the one to change.
            override = nodes.overrides.get(node.short_name)
            blamed = node if override and override.vm_id is not None else other
            yield Problem(
                f"nodes.overrides.{blamed.short_name}.vm_id",
                str(node.vm_id),
                f"is the VM id of both {other.short_name} and {node.short_name}",
                f"choose an id outside of {proxmox.first_vm_id}-"
                f"{proxmox.first_vm_id + WORKER_ID_OFFSET + max(0, nodes.workers.count - 1)}",
            )


def overrides_keep_to_their_role(nodes: Nodes) -> Iterator[Problem]:
    """What is too little for a control plane is too little for one of them."""
    least = {"cores": CONTROL_PLANE_CORES, "memory_mib": CONTROL_PLANE_MIB}
    for name, override in sorted(nodes.overrides.items()):
        for key, limit in least.items():
            value = getattr(override, key)
            if name.startswith(Role.CONTROL_PLANE) and value is not None and value < limit:
                yield Problem(
                    f"nodes.overrides.{name}.{key}",
                    str(value),
                    f"is below the least that works for a control plane, {limit}",
                    f"choose {limit} or more",
                )


def replicas_have_disks(
    longhorn: Longhorn, cluster: Cluster, nodes: Nodes, proxmox: Proxmox
) -> Iterator[Problem]:
    """Longhorn keeps each copy of a volume on another node: hard anti-affinity."""
    carriers = [n for n in plan_nodes(cluster, nodes, proxmox) if n.data_disk_gib is not None]
    if not carriers:
        yield Problem(
            "nodes.workers.data_disk_gib",
            "none on any node",
            "Longhorn, and with it Traefik's certificates, needs a data disk to live on",
            "give the workers a data_disk_gib; with 0 workers, give it to nodes.control_planes",
        )
    elif longhorn.replicas is not None and longhorn.replicas > len(carriers):
        count = len(carriers)
        yield Problem(
            "longhorn.replicas",
            str(longhorn.replicas),
            f"only {count} {'node carries' if count == 1 else 'nodes carry'} a data disk: "
            "every volume would stay degraded",
            f"choose {count} or less, or add nodes with a data disk",
        )


def data_disk_told_apart(cluster: Cluster, nodes: Nodes, proxmox: Proxmox) -> Iterator[Problem]:
    """Talos finds the data disk by its size, so it must not be the size of the OS disk."""
    said = set()
    for node in plan_nodes(cluster, nodes, proxmox):
        path = node_path(node, nodes, "data_disk_gib")
        if node.data_disk_gib == node.os_disk_gib and path not in said:
            said.add(path)
            yield Problem(
                path,
                str(node.data_disk_gib),
                f"is the size of the OS disk of {node.short_name} too: "
                "the data disk is found by its size",
                "make the two differ by at least 1 GiB",
            )


def kept_disks_are_there(cluster: Cluster, nodes: Nodes, proxmox: Proxmox) -> Iterator[Problem]:
    """Only a data disk can be kept."""
    planned = plan_nodes(cluster, nodes, proxmox)
    for role, name, group in (
        (Role.CONTROL_PLANE, "control_planes", nodes.control_planes),
        (Role.WORKER, "workers", nodes.workers),
    ):
        disks = [node.data_disk_gib for node in planned if node.role is role]
        if group.keep_data_disk_on_destroy and disks and not any(disks):
            yield Problem(
                f"nodes.{name}.keep_data_disk_on_destroy",
                "true",
                "none of them has a data disk to keep",
                f"give nodes.{name} a data_disk_gib, or leave it out",
            )
