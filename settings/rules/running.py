"""Rules that compare the settings with what the stack runs: what a running cluster cannot become.

The providers would try all the same. They pull a data disk out of every running VM at once, they
cannot move a disk that is in use, and they send a machine config to the new address of a node that
still has the old one.

Nothing here counts what has never come up: a node that was never ready in Kubernetes holds nothing,
and every value of it can be corrected.
"""

from __future__ import annotations

from collections.abc import Iterator

from settings import compatibility
from settings.charts import Longhorn
from settings.groups import Cluster, Nodes, Proxmox
from settings.node import Node
from settings.plan import plan_nodes
from settings.problems import Problem
from settings.rules.addresses import node_path
from settings.running import RunningMachine, RunningStack

_DISKS = {"os_disk_gib": "OS disk", "data_disk_gib": "data disk"}


def versions_can_be_reached(cluster: Cluster, running: RunningStack) -> Iterator[Problem]:
    """An upgrade takes one minor version at a time, and there is no downgrade.

    After an upgrade that was interrupted some nodes run the old version and some the new one: both
    count.
    """
    if not running.has_come_up:
        return
    talos = {it.talos for it in running.machines.values() if it.has_come_up} | {running.talos}
    found = [
        *(compatibility.talos_step(old, cluster.talos) for old in talos if old),
        *(compatibility.kubernetes_step(old, cluster.kubernetes) for old in running.kubernetes),
        *(
            compatibility.talos_with_running_kubernetes(cluster.talos, old)
            for old in running.kubernetes
        ),
    ]
    yield from dict.fromkeys(problem for problem in found if problem)


def longhorn_can_be_upgraded(longhorn: Longhorn, running: RunningStack) -> Iterator[Problem]:
    """Longhorn goes to the next minor version at most, and never back."""
    old = running.charts.get("longhorn")
    if old and running.has_come_up:
        problem = compatibility.longhorn_step(old, longhorn.chart_version)
        yield from [problem] if problem else []


def running_machines_can_change(
    cluster: Cluster, nodes: Nodes, proxmox: Proxmox, running: RunningStack
) -> Iterator[Problem]:
    """A running machine keeps its address and its storage, and its disks only grow.

    Another VM id is another machine, of which anything may be asked. A setting of a whole role is
    reported once, with the first machine that it does not fit.
    """
    reported = set[str]()
    for node in plan_nodes(cluster, nodes, proxmox, running.hosts):
        machine = running.machines.get(node.name)
        if machine is None or not machine.has_come_up or machine.vm_id != node.vm_id:
            continue
        for problem in (
            *_smaller_disks(node, nodes, machine),
            *_disks_beside_hardware(node, nodes, machine),
            *_other_address(node, nodes, machine),
            *_other_storage(node, proxmox, machine),
            *_retained_later(node, nodes, machine),
        ):
            if problem.path not in reported:
                reported.add(problem.path)
                yield problem


def _smaller_disks(node: Node, nodes: Nodes, machine: RunningMachine) -> Iterator[Problem]:
    """Disks only grow (Proxmox VE: qm resize); one that is removed is pulled out at once (bpg
    v0.111.1 proxmoxtf/resource/vm/vm.go ``vmUpdate``)."""
    for key, what in _DISKS.items():
        has, wanted = getattr(machine, key), getattr(node, key)
        if has is None or (wanted is not None and wanted >= has):
            continue
        change = (
            f"the {what} of {has} GiB cannot be removed from {node.name} while the node runs"
            if wanted is None
            else f"the {what} of {node.name} has {has} GiB, and a disk cannot shrink"
        )
        yield Problem(
            node_path(node, nodes, key),
            "null" if wanted is None else str(wanted),
            change,
            f"write {has} or more, or remove the node and add it again",
        )


def _disks_beside_hardware(node: Node, nodes: Nodes, machine: RunningMachine) -> Iterator[Problem]:
    """The provider grows no disk while new cores or memory wait for a power-cycle (the same file,
    "resize disks")."""
    changed = [
        key
        for key in ("cores", "memory_mib")
        if getattr(machine, key) not in (None, getattr(node, key))
    ]
    grown = [key for key in _DISKS if (getattr(node, key) or 0) > (getattr(machine, key) or 0) > 0]
    if changed and grown:
        yield Problem(
            node_path(node, nodes, grown[0]),
            str(getattr(node, grown[0])),
            f"no disk of {node.name} can grow in the same `up` that changes "
            f"{' and '.join(changed)}",
            f"write {getattr(machine, grown[0])}, run `make up`, then write it again",
        )


def _other_address(node: Node, nodes: Nodes, machine: RunningMachine) -> Iterator[Problem]:
    """The machine config would be sent to the new address, where nobody listens."""
    if machine.address not in (None, str(node.address)):
        yield Problem(
            node_path(node, nodes, "address"),
            str(node.address),
            f"{node.name} runs at {machine.address}, and a running node cannot change its address",
            f"set it back so that {node.short_name} has {machine.address}, or remove the node and "
            "add it again",
        )


def _other_storage(node: Node, proxmox: Proxmox, machine: RunningMachine) -> Iterator[Problem]:
    """Its disks are in use (bpg v0.111.1, the same file: "move the Cloud-Init drive")."""
    if machine.datastore not in (None, proxmox.disk_datastore):
        yield Problem(
            "proxmox.disk_datastore",
            proxmox.disk_datastore,
            f"{node.name} has its disks on {machine.datastore}, and the disks of a running machine "
            "cannot move",
            f"write {machine.datastore}, or remove the nodes and add them again",
        )


def _retained_later(node: Node, nodes: Nodes, machine: RunningMachine) -> Iterator[Problem]:
    """A disk is deleted with the VM that created it."""
    wanted = node.keep_data_disk_on_destroy and node.data_disk_gib is not None
    if wanted and machine.data_disk_gib is not None and not machine.retains_data_disk:
        yield Problem(
            node_path(node, nodes, "keep_data_disk_on_destroy"),
            "true",
            f"{node.name} has a data disk of its own, which Proxmox deletes with the VM",
            "remove the setting until the machine is created again: lower the count, or "
            "`make down`; then `make up`",
        )


def machines_can_leave_their_pool(
    cluster: Cluster, nodes: Nodes, proxmox: Proxmox, running: RunningStack
) -> Iterator[Problem]:
    """The provider leaves a VM in its pool when the setting is removed (bpg v0.111.1
    proxmoxtf/resource/vm/vm.go, ``pool_id``), so the pool could not be deleted."""
    if running.pool is None or proxmox.pool is not None:
        return
    planned = {node.name for node in plan_nodes(cluster, nodes, proxmox, running.hosts)}
    stay = [
        it.name
        for it in running.machines.values()
        if it.name in planned and it.pool == running.pool and it.has_come_up
    ]
    if stay:
        yield Problem(
            "proxmox.pool",
            "missing",
            f"{', '.join(stay)} and the pool {running.pool} belong together: Proxmox deletes no "
            "pool that has members, and the provider takes no VM out of its pool",
            f"write {running.pool}, or the name of another pool",
        )


def a_running_cluster_is_not_restored(cluster: Cluster, running: RunningStack) -> Iterator[Problem]:
    """A restore would discard what etcd holds now."""
    wanted = cluster.restore_from
    if running.is_bootstrapped and wanted is not None and str(wanted) != running.restored_from:
        yield Problem(
            "cluster.restore_from",
            str(wanted),
            "etcd of this cluster has been started already, and a restore would discard what is in "
            "it",
            "remove the setting; or, to go back to the snapshot, run `make snapshot`, `make down` "
            "and `make up`",
        )
