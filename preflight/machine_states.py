"""Determines the state of each VM, and whether Talos on it has a machine config."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pulumi

from clients.proxmox.guests import Guest
from lifecycle.node import LOST, MachineState
from lifecycle.operations import node_replacement
from settings.node import Node, Role

NO_CONTROL_PLANE = (
    "No control plane is left. If this cluster ran before, its etcd is lost with all Kubernetes "
    "objects, and `make up` would start an empty cluster. Run `make down` instead. If you have a "
    "snapshot, set cluster.restore_from to it. Then run `make up`."
)


def look_at_machines(guests: Iterable[Guest], nodes: Sequence[Node]) -> dict[str, MachineState]:
    """Return the state of each node's VM, by node name; before the first ``up`` all are ``gone``.

    Connects to all running VMs at the same time. A VM that does not answer takes two seconds; a VM
    that has just started gets the rest of its boot time. Logs a warning for each node without a
    machine config or whose VM is off, and if no control plane is left.
    """
    by_id = {guest.vm_id: guest for guest in guests}

    def state_of(node: Node) -> MachineState:
        guest = by_id.get(node.vm_id)
        if guest is None:
            return "gone"
        if guest.has_unknown_status:
            is_blank = node_replacement.is_in_maintenance(str(node.address), 0)
            return "blank" if is_blank else "off"
        if not guest.is_running:
            return "off"
        boot_time_left = node_replacement.BOOT_TIMEOUT_S - guest.uptime_s
        has_no_config = node_replacement.is_in_maintenance(str(node.address), boot_time_left)
        return "blank" if has_no_config else ""

    with ThreadPoolExecutor(max_workers=32) as pool:
        states = list(pool.map(state_of, nodes))
    for node, state in zip(nodes, states, strict=True):
        if state == "blank":
            pulumi.log.warn(
                f"{node.name} ({node.address}) has no machine config; `make up` sends it (again)."
            )
        elif (guest := by_id.get(node.vm_id)) and guest.is_off:
            pulumi.log.warn(_describe_off(node, guest))
    # A control plane that is switched off still has its etcd.
    if "" in states and all(
        state in LOST
        for node, state in zip(nodes, states, strict=True)
        if node.role is Role.CONTROL_PLANE
    ):
        pulumi.log.warn(NO_CONTROL_PLANE)
    return dict(zip((node.name for node in nodes), states, strict=True))


def _describe_off(node: Node, guest: Guest) -> str:
    """Why the VM of a node is off, and how it starts."""
    subject = f"{node.name} (VM {guest.vm_id} on {guest.host}) is switched off"
    if not guest.lock:
        return f"{subject}; `make up` starts it."
    return (
        f"{subject} and locked ({guest.lock}), and Proxmox starts no locked VM. A task that lost "
        f"power leaves such a lock. If no task on {guest.host} uses the VM, run there as root "
        f"`qm unlock {guest.vm_id}`, then run `make up`, which starts it."
    )
