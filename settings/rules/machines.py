"""Rules for VMs: ids, disks and overrides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from settings.charts import Longhorn
from settings.groups import Nodes, Proxmox
from settings.node import Node, Role
from settings.plan import WORKER_ID_OFFSET
from settings.problems import Problem
from settings.rules.addresses import node_path
from settings.values import CONTROL_PLANE_CORES, CONTROL_PLANE_MIB


def vm_ids_unique(nodes: Nodes, proxmox: Proxmox, machines: Sequence[Node]) -> Iterator[Problem]:
    """No two VMs have the same id."""
    taken: dict[int, Node] = {}
    for node in machines:
        other = taken.setdefault(node.vm_id, node)
        if other is not node:
            # Of two nodes, the problem names an override as the setting to change.
            override = nodes.overrides.get(node.short_name)
            reported = node if override and override.vm_id is not None else other
            yield Problem(
                f"nodes.overrides.{reported.short_name}.vm_id",
                str(node.vm_id),
                f"is the VM id of both {other.short_name} and {node.short_name}",
                f"choose a VM id outside of {proxmox.first_vm_id}-"
                f"{proxmox.first_vm_id + WORKER_ID_OFFSET + max(0, nodes.workers.count - 1)}",
            )


def overrides_meet_minimum_of_role(nodes: Nodes) -> Iterator[Problem]:
    """An override of a control plane respects the minimum of its role."""
    minimum = {"cores": CONTROL_PLANE_CORES, "memory_mib": CONTROL_PLANE_MIB}
    for name, override in sorted(nodes.overrides.items()):
        for key, limit in minimum.items():
            value = getattr(override, key)
            if name.startswith(Role.CONTROL_PLANE) and value is not None and value < limit:
                yield Problem(
                    f"nodes.overrides.{name}.{key}",
                    str(value),
                    f"is below the minimum of a control plane, {limit}",
                    f"choose {limit} or more",
                )


def replicas_have_disks(longhorn: Longhorn, machines: Sequence[Node]) -> Iterator[Problem]:
    """Longhorn places each copy of a volume on another node (hard anti-affinity)."""
    with_disk = [n for n in machines if n.data_disk_gib is not None]
    if not with_disk:
        yield Problem(
            "nodes.workers.data_disk_gib",
            "none on any node",
            "Longhorn needs at least one data disk, also for Traefik's certificates",
            "set nodes.workers.data_disk_gib; with 0 workers, set "
            "nodes.control_planes.data_disk_gib",
        )
    elif longhorn.replicas is not None and longhorn.replicas > len(with_disk):
        count = len(with_disk)
        yield Problem(
            "longhorn.replicas",
            str(longhorn.replicas),
            f"only {count} {'node has' if count == 1 else 'nodes have'} a data disk: "
            "every volume would stay degraded",
            f"choose {count} or less, or add nodes with a data disk",
        )


def data_disk_differs_from_os_disk(nodes: Nodes, machines: Sequence[Node]) -> Iterator[Problem]:
    """Talos finds the data disk by its size, so the OS disk must have another size."""
    reported = set()
    for node in machines:
        path = node_path(node, nodes, "data_disk_gib")
        if node.data_disk_gib == node.os_disk_gib and path not in reported:
            reported.add(path)
            yield Problem(
                path,
                str(node.data_disk_gib),
                f"is also the size of the OS disk of {node.short_name}, and Talos finds the data "
                "disk by its size",
                "choose sizes that differ by at least 1 GiB",
            )


def retained_disks_exist(nodes: Nodes, machines: Sequence[Node]) -> Iterator[Problem]:
    """``keep_data_disk_on_destroy`` needs a data disk."""
    for role, name, group in (
        (Role.CONTROL_PLANE, "control_planes", nodes.control_planes),
        (Role.WORKER, "workers", nodes.workers),
    ):
        disks = [node.data_disk_gib for node in machines if node.role is role]
        if group.keep_data_disk_on_destroy and disks and not any(disks):
            yield Problem(
                f"nodes.{name}.keep_data_disk_on_destroy",
                "true",
                f"no node of nodes.{name} has a data disk",
                f"set nodes.{name}.data_disk_gib, or remove keep_data_disk_on_destroy",
            )
