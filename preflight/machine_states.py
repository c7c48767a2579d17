"""Asks each running VM of the stack whether it waits for a machine config."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pulumi

from clients.proxmox.guests import Guest
from lifecycle.node import MachineState
from lifecycle.operations import node_replacement
from settings.node import Node, Role

NO_CONTROL_PLANE = (
    "No control plane is left. If this castle has run before, its etcd is lost, and with it all "
    "that Kubernetes knew. An `up` would begin an empty cluster: rather `make down` and `make up`, "
    "with cluster.restore_from where there is a snapshot."
)


def look_at_machines(guests: Iterable[Guest], nodes: Sequence[Node]) -> dict[str, MachineState]:
    """By node: what is not as it should be with its machine; on the first day all are ``gone``.

    All are asked at the same time. One that is silent costs two seconds, and one that was switched
    on a moment ago is waited for.
    """
    by_id = {guest.vm_id: guest for guest in guests}

    def seen(node: Node) -> MachineState:
        guest = by_id.get(node.vm_id)
        if guest is None:
            return "gone"
        if not guest.is_running:
            return "off"
        left = node_replacement.BOOT_LIMIT - guest.uptime_s
        return "blank" if node_replacement.wait_for_answer(str(node.address), left) else ""

    with ThreadPoolExecutor(max_workers=32) as pool:
        found = list(pool.map(seen, nodes))
    for node, word in zip(nodes, found, strict=True):
        if word == "blank":
            pulumi.log.warn(
                f"{node.name} ({node.address}) has no machine config, and is given it (again)."
            )
    if "" in found and all(
        w for n, w in zip(nodes, found, strict=True) if n.role is Role.CONTROL_PLANE
    ):
        pulumi.log.warn(NO_CONTROL_PLANE)
    return dict(zip((node.name for node in nodes), found, strict=True))
