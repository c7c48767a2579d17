"""Lists the guests of Proxmox, and finds conflicts of their VM ids with those of the stack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError

if TYPE_CHECKING:
    from settings.groups import Endpoint
    from settings.node import Node

_THREADS = 8
"""Number of parallel requests."""


@dataclass(frozen=True)
class Guest:
    """A VM or container on Proxmox."""

    vm_id: int
    name: str
    """Empty if Proxmox does not report it (a new guest, or a host that does not answer)."""
    host: str
    """Its Proxmox node."""
    kind: str
    """``qemu`` or ``lxc``, which share one range of ids; ``guest`` if unknown."""
    tags: frozenset[str] = frozenset()
    is_running: bool = False
    has_unknown_status: bool = False
    """Proxmox does not know whether it runs (a new guest, or a host that does not answer)."""
    uptime_s: int = 0
    pool: str = ""
    """Its resource pool; empty if it has none."""


def list_guests(proxmox: Endpoint, wanted: Iterable[int] = ()) -> list[Guest]:
    """All guests of the Proxmox cluster, also on hosts that are switched off.

    The token sees only guests that it may audit. So this also asks whether each ``wanted`` VM id
    that is not in the list is free. If it is taken, the result has a ``Guest`` with a placeholder
    as name and host. Raises ``ProxmoxError``.
    """
    get = proxmox_api.caller(proxmox)
    path = "/cluster/resources?type=vm"
    with proxmox_api.translated_errors(proxmox, f"GET {path}"):
        guests = [_guest(entry) for entry in get(path)]
    listed = {guest.vm_id for guest in guests}
    unlisted = [vm_id for vm_id in wanted if vm_id not in listed]
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        free = list(pool.map(lambda vm_id: is_free(get, vm_id), unlisted))
    guests += [
        Guest(vm_id, "one that the token may not see", "some host", "guest")
        for vm_id, id_is_free in zip(unlisted, free, strict=True)
        if not id_is_free
    ]
    return guests


def is_free(get: Callable[[str], Any], vm_id: int) -> bool:
    """Whether a VM id is free in the whole Proxmox cluster, also of guests that the token cannot
    see. If the token may not ask, the id counts as free. Raises ``ProxmoxError`` if Proxmox does
    not answer."""
    try:
        get(f"/cluster/nextid?vmid={vm_id}")
    except ProxmoxError as error:
        if error.status is None:
            raise
        # 400 means "VM 8000 already exists".
        return error.status != HTTPStatus.BAD_REQUEST
    return True


@dataclass(frozen=True, kw_only=True)
class VmIdConflict:
    """A VM id of a planned node that another guest has. As text: with node, reason and fix."""

    node: Node
    guest: Guest
    in_stack: bool
    """Whether the guest has the tag of the stack, and is another node of it."""
    reason: str
    """Which guest has the VM id, as the rest of a sentence."""
    fix: str
    """What to do, as the rest of a sentence."""

    def __str__(self) -> str:
        return (
            f"VM id {self.node.vm_id}, wanted for {self.node.name}, {self.reason}. "
            f"{self.fix[0].upper()}{self.fix[1:]}. Nothing has been touched."
        )


def find_conflicts(
    guests: Iterable[Guest], nodes: Sequence[Node], stack_tag: str
) -> list[VmIdConflict]:
    """Find the nodes whose VM id belongs to a guest without the tag, or to another node."""
    by_id = {guest.vm_id: guest for guest in guests}
    found = [(node, by_id[node.vm_id]) for node in nodes if node.vm_id in by_id]
    return [
        _conflict(node, guest, stack_tag)
        for node, guest in found
        if stack_tag not in guest.tags or _is_another_node(node, guest)
    ]


def _conflict(node: Node, guest: Guest, stack_tag: str) -> VmIdConflict:
    in_stack = stack_tag in guest.tags
    if in_stack:
        owner = f"{guest.name} of this stack"
        fix = (
            "set cluster.name, proxmox.first_vm_id or the vm_id in nodes.overrides back to the old "
            "value, or run `make down` first; if somebody renamed the VM in Proxmox, rename it to "
            f"{node.name}"
        )
    else:
        kind = {"lxc": "container", "qemu": "virtual machine"}.get(guest.kind, "guest")
        # Proxmox lists new guests, and guests on hosts that do not answer, without a name.
        name = f"'{guest.name}'" if guest.name else "without a known name"
        owner = f"the {kind} {name}, which is not part of this stack"
        fix = (
            f"choose another proxmox.first_vm_id, or a vm_id for {node.short_name} in "
            "nodes.overrides; if it is a VM of this stack that lost its tag, add the tag "
            f"{stack_tag} in Proxmox"
        )
    reason = f"is taken: on {guest.host} it belongs to {owner}"
    return VmIdConflict(node=node, guest=guest, in_stack=in_stack, reason=reason, fix=fix)


def _is_another_node(node: Node, guest: Guest) -> bool:
    """Whether a guest with the tag of the stack has the name of another node.

    Proxmox sets name and tags at the same time (qemu-server, API2/Qemu.pm ``create_vm``), but lists
    the name up to ten seconds later. Until then the list has no name, or ``VM 8010``
    (pve-manager, API2Tools.pm ``extract_vm_stats``; QemuServer.pm ``vmstatus``).
    """
    return guest.name not in ("", f"VM {guest.vm_id}", node.name)


def _guest(entry: dict[str, Any]) -> Guest:
    return Guest(
        vm_id=int(entry["vmid"]),
        name=entry.get("name") or "",
        host=entry["node"],
        kind=entry["type"],
        tags=proxmox_api.tags_of(entry),
        is_running=entry.get("status") == "running",
        has_unknown_status=entry.get("status") == "unknown",
        uptime_s=int(entry.get("uptime") or 0),
        pool=entry.get("pool") or "",
    )


def pool_comment(stack_tag: str) -> str:
    """The comment that identifies the resource pool of a stack."""
    return f"Machines of {stack_tag}"


def mac_address(stack_tag: str, vm_id: int) -> str:
    """A locally administered unicast MAC address, the same in every rebuild of a VM."""
    digest = hashlib.sha256(f"{stack_tag}/{vm_id}".encode()).digest()
    return ":".join(f"{byte:02X}" for byte in (0x02, *digest[:5]))
