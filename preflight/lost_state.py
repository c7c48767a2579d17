"""Refuses to deploy over a running cluster whose Pulumi state is lost (a new computer, no
``.state/``).

Without the state, Pulumi would create every resource: the Proxmox provider adopts the VMs, and then
no node accepts the new machine secrets. A first ``up`` that was killed looks similar, because a VM
may be missing in its state, and must continue. But its nodes have no machine config before the
machine secrets are in the state, and no VM exists before the image is in the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pulumi

from clients.proxmox.guests import Guest, Ownership, ownership
from clients.talos import machine_api
from lifecycle.node import MachineState
from settings.models import Settings
from settings.node import Node


def refuse_lost_state(
    settings: Settings, guests: Iterable[Guest], states: Mapping[str, MachineState]
) -> None:
    """Raise ``pulumi.RunError`` if the VMs of a running cluster are not in the Pulumi state.

    ``guests`` are those of Proxmox. ``states`` are the states of the planned nodes by name.
    """
    running = settings.running
    if running.has_machine_secrets:
        return
    known = {vm.vm_id for vm in running.machines.values()}
    tag = settings.stack_tag
    by_id = {it.vm_id: it for it in guests if ownership(it, tag, False) is Ownership.STACK}
    unknown = {
        node: by_id[node.vm_id]
        for node in settings.machines
        if node.vm_id in by_id and node.vm_id not in known
    }
    lost = list(_nodes_of_cluster(unknown, states, has_resources=running.has_resources))
    if not lost:
        return
    names = "\n".join(f"  - {node.name} (VM {node.vm_id} on {unknown[node].host})" for node in lost)
    raise pulumi.RunError(
        f"The Pulumi state of the stack {settings.stack} is lost. These VMs on Proxmox are nodes "
        "of the stack, but neither they nor the machine secrets of their cluster are in the "
        f"state:\n{names}\n"
        "Bring the state back: copy the folder .state/ from the computer that has it, or run `make "
        "recover`, which imports the encrypted copy if the backup store has one. If the state is "
        "gone, run `make down`: it finds what belongs to the stack by MAC address, and removes it. "
        "Nothing has been touched."
    )


def _nodes_of_cluster(
    unknown: Mapping[Node, Guest], states: Mapping[str, MachineState], *, has_resources: bool
) -> Iterator[Node]:
    """Those of the nodes whose VM is not in the state that had a machine config before.

    A VM that is switched off, or that this computer cannot reach, is one of them only if the state
    has no resources.
    """
    for node in unknown:
        state = states.get(node.name)
        is_unknown = state in ("", "off")
        has_config = state == "" and machine_api.is_unconfigured(str(node.address)) is False
        if has_config or (is_unknown and not has_resources):
            yield node
