"""Rules that refuse changes that a running cluster does not support.

Without them the providers would try: they detach removed disks from all running VMs at once, they
cannot move a disk that is in use, and they send the machine config to the new address of a node
that still has the old one. The rules ignore nodes that were never ready in Kubernetes: these hold
no data, so every setting can still change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from settings import compatibility
from settings.charts import Longhorn
from settings.groups import Cluster, Nodes, Proxmox
from settings.node import Node
from settings.problems import Problem
from settings.rules.addresses import node_path
from settings.running import RunningMachine, RunningStack

_DISKS = {"os_disk_gib": "OS disk", "data_disk_gib": "data disk"}


def versions_can_be_reached(cluster: Cluster, running: RunningStack) -> Iterator[Problem]:
    """An upgrade goes at most one minor version up; a downgrade is refused.

    After an interrupted upgrade some nodes run the old version and some the new one. The rule
    checks the step from both.
    """
    if not running.has_come_up:
        return
    talos = {vm.talos for vm in running.machines.values() if vm.has_come_up} | {running.talos}
    found = [
        compatibility.upgrade_step("cluster.talos", old, cluster.talos) for old in talos if old
    ]
    for old in running.kubernetes:
        found += [
            compatibility.upgrade_step("cluster.kubernetes", old, cluster.kubernetes),
            compatibility.talos_with_running_kubernetes(cluster.talos, old),
        ]
    yield from dict.fromkeys(problem for problem in found if problem)


def longhorn_can_be_upgraded(longhorn: Longhorn, running: RunningStack) -> Iterator[Problem]:
    """An upgrade of Longhorn goes at most one minor version up; a downgrade is refused."""
    old = running.charts.get("longhorn")
    if old and running.has_come_up:
        problem = compatibility.upgrade_step("longhorn.chart_version", old, longhorn.chart_version)
        yield from [problem] if problem else []


def running_vms_can_change(
    nodes: Nodes, proxmox: Proxmox, machines: Sequence[Node], running: RunningStack
) -> Iterator[Problem]:
    """A running node cannot change its address or storage, and its disks can only grow.

    A node with a new VM id becomes a new VM, so its settings may change. A setting of a role is
    reported once, for the first node that cannot change.
    """
    reported = set[str]()
    for node in machines:
        vm = running.machines.get(node.name)
        if vm is None or not vm.has_come_up or vm.vm_id != node.vm_id:
            continue
        for problem in (
            *_shrunk_disks(node, nodes, vm),
            *_disks_resized_with_hardware(node, nodes, vm),
            *_changed_address(node, nodes, vm),
            *_changed_storage(node, proxmox, vm),
            *_late_retention(node, nodes, vm),
        ):
            if problem.path not in reported:
                reported.add(problem.path)
                yield problem


def _shrunk_disks(node: Node, nodes: Nodes, vm: RunningMachine) -> Iterator[Problem]:
    """Proxmox cannot shrink a disk (``qm resize``), and the provider detaches a removed disk while
    the VM runs (bpg/proxmox v0.111.1 proxmoxtf/resource/vm/vm.go ``vmUpdate``)."""
    for key, what in _DISKS.items():
        has, wanted = getattr(vm, key), getattr(node, key)
        if has is None or (wanted is not None and wanted >= has):
            continue
        change = (
            f"{node.name} runs with a {what} of {has} GiB, which cannot be removed"
            if wanted is None
            else f"the {what} of {node.name} has {has} GiB, and a disk cannot shrink"
        )
        yield Problem(
            node_path(node, nodes, key),
            "null" if wanted is None else str(wanted),
            change,
            f"write {has} or more, or remove the node and add it again",
        )


def _disks_resized_with_hardware(node: Node, nodes: Nodes, vm: RunningMachine) -> Iterator[Problem]:
    """The provider resizes no disk while new cores or memory wait for a power cycle (bpg/proxmox
    v0.111.1 proxmoxtf/resource/vm/vm.go, "resize disks")."""
    changed = [
        key for key in ("cores", "memory_mib") if getattr(vm, key) not in (None, getattr(node, key))
    ]
    grown = [key for key in _DISKS if (getattr(node, key) or 0) > (getattr(vm, key) or 0) > 0]
    if changed and grown:
        yield Problem(
            node_path(node, nodes, grown[0]),
            str(getattr(node, grown[0])),
            f"no disk of {node.name} can grow in the same `up` that changes "
            f"{' and '.join(changed)}",
            f"write {getattr(vm, grown[0])}, run `make up`, then write it again",
        )


def _changed_address(node: Node, nodes: Nodes, vm: RunningMachine) -> Iterator[Problem]:
    """The provider would send the machine config to the new address, where no node answers."""
    if vm.address not in (None, str(node.address)):
        yield Problem(
            node_path(node, nodes, "address"),
            str(node.address),
            f"{node.name} runs at {vm.address}, and a running node cannot change its address",
            f"set it back so that {node.short_name} has {vm.address}, or remove the node and "
            "add it again",
        )


def _changed_storage(node: Node, proxmox: Proxmox, vm: RunningMachine) -> Iterator[Problem]:
    """The provider cannot move disks that are in use (bpg/proxmox v0.111.1
    proxmoxtf/resource/vm/vm.go, "move the Cloud-Init drive")."""
    if vm.datastore not in (None, proxmox.disk_datastore):
        yield Problem(
            "proxmox.disk_datastore",
            proxmox.disk_datastore,
            f"{node.name} has its disks on {vm.datastore}, and disks of a running VM cannot move",
            f"write {vm.datastore}, or remove the nodes and add them again",
        )


def _late_retention(node: Node, nodes: Nodes, vm: RunningMachine) -> Iterator[Problem]:
    """Proxmox deletes a disk with the VM that created it, so no existing disk can be retained."""
    wanted = node.keep_data_disk_on_destroy and node.data_disk_gib is not None
    if wanted and vm.data_disk_gib is not None and not vm.retains_data_disk:
        yield Problem(
            node_path(node, nodes, "keep_data_disk_on_destroy"),
            "true",
            f"the data disk of {node.name} was created without this setting, so Proxmox deletes "
            "the disk with the VM",
            "remove the setting; to use it, first delete the VM (reduce the count and run "
            "`make up`, or run `make down`), then set it and run `make up`",
        )


def pool_of_running_vms_stays(
    proxmox: Proxmox, machines: Sequence[Node], running: RunningStack
) -> Iterator[Problem]:
    """If ``proxmox.pool`` is removed, the provider leaves VMs in the pool (bpg/proxmox v0.111.1
    proxmoxtf/resource/vm/vm.go, ``pool_id``), and Proxmox deletes no pool with members."""
    if running.pool is None or proxmox.pool is not None:
        return
    planned = {node.name for node in machines}
    stay = [
        vm.name
        for vm in running.machines.values()
        if vm.name in planned and vm.pool == running.pool and vm.has_come_up
    ]
    if stay:
        yield Problem(
            "proxmox.pool",
            "missing",
            f"the pool {running.pool} contains {', '.join(stay)}: the provider removes no VM from "
            "a pool, and Proxmox deletes no pool with members",
            f"set proxmox.pool to {running.pool}, or to the name of another pool",
        )


def restore_only_into_new_cluster(cluster: Cluster, running: RunningStack) -> Iterator[Problem]:
    """A restore would discard the current data of etcd."""
    wanted = cluster.restore_from
    if running.is_bootstrapped and wanted is not None and str(wanted) != running.restored_from:
        yield Problem(
            "cluster.restore_from",
            str(wanted),
            "the etcd of this cluster already runs, and a restore would discard its data",
            "remove the setting; or, to restore the snapshot anyway, run `make snapshot`, "
            "`make down` and `make up`",
        )
