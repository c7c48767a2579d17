"""Who is on Proxmox: every guest, and who of them has a VM id that we want."""

from __future__ import annotations

import hashlib
import urllib.error
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from clients.proxmox import api as proxmox_api
from settings.groups import Endpoint
from settings.node import Node

_THREADS = 8
"""VM ids that Proxmox is asked about at the same time."""


@dataclass(frozen=True)
class Guest:
    """A virtual machine or container that Proxmox has."""

    vm_id: int
    name: str
    host: str
    kind: str
    """``qemu`` or ``lxc``: both draw from the same ids."""
    tags: frozenset[str] = frozenset()
    is_running: bool = False
    uptime_s: int = 0
    pool: str = ""
    """The resource pool that it is in, if any."""


class GuestListError(Exception):
    """Proxmox could not be asked: what was tried, why it failed, and the fix."""


def list_guests(proxmox: Endpoint, wanted: Iterable[int] = ()) -> list[Guest]:
    """Every guest of the Proxmox cluster, those of hosts that are switched off too.

    A token sees only the guests that it may audit. So each ``wanted`` id that it sees nowhere is
    asked for by itself: what has it is a ``Guest`` without a name. Raises ``GuestListError``.
    """
    base = proxmox.endpoint.removesuffix("/api2/json")
    get = proxmox_api.caller(proxmox)
    try:
        guests = [_guest(entry) for entry in get("/cluster/resources?type=vm")]
        seen = {guest.vm_id for guest in guests}
        unseen = [vm_id for vm_id in wanted if vm_id not in seen]
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            free = list(pool.map(lambda vm_id: _is_free(get, vm_id), unseen))
        guests += [
            Guest(vm_id, "one that the token may not see", "some host", "guest")
            for vm_id, is_free in zip(unseen, free, strict=True)
            if not is_free
        ]
    except urllib.error.HTTPError as error:
        error.close()
        fix = (
            "Check proxmoxve:apiToken and that the token has not expired."
            if error.code in (401, 403)
            else "Look at the Proxmox host's own log."
        )
        raise GuestListError(
            f"Proxmox at {base} answers {error.code} {error.reason}. {fix}"
        ) from None
    except proxmox_api.FAILURES as error:
        reason = getattr(error, "reason", error)
        raise GuestListError(
            f"Proxmox at {base} (proxmoxve:endpoint) does not answer as it should: {reason}. Check "
            "that the host is up and the address is right; with a self-signed certificate set "
            "proxmoxve:insecure to true."
        ) from None
    return guests


def strangers(
    guests: Iterable[Guest], nodes: Sequence[Node], stack_tag: str
) -> list[tuple[Node, Guest]]:
    """The machines that we want whose id another guest has, with that guest: a foreign one, or
    another machine of ours."""
    by_id = {guest.vm_id: guest for guest in guests}
    found = [(node, by_id[node.vm_id]) for node in nodes if node.vm_id in by_id]
    return [(node, it) for node, it in found if stack_tag not in it.tags or _is_another(node, it)]


def refusal(node: Node, guest: Guest, stack_tag: str) -> str:
    """Why a machine is not made, and what to do."""
    if stack_tag in guest.tags:
        return (
            f"VM id {node.vm_id}, wanted for {node.name}, is taken: on {guest.host} it is still "
            f"this castle's {guest.name}. Set cluster.name, proxmox.first_vm_id or the vm_id in "
            "nodes.overrides back, or `make down` first. (If somebody renamed it in Proxmox, name "
            f"it {node.name} again.) Nothing has been touched."
        )
    kind = {"lxc": "container", "qemu": "virtual machine"}.get(guest.kind, "guest")
    # Proxmox lists a new guest, and one on a silent host, without its name.
    name = f"'{guest.name}'" if guest.name else "without a known name"
    return (
        f"VM id {node.vm_id}, wanted for {node.name}, is taken: on {guest.host} it is the {kind} "
        f"{name}, which is not ours and has not been touched. Choose another "
        f"proxmox.first_vm_id, or a vm_id for {node.short_name} in nodes.overrides. (If it is a "
        f"machine of this castle that lost its tag, give it the tag {stack_tag} in Proxmox.)"
    )


def _is_another(node: Node, guest: Guest) -> bool:
    """Whether a guest of ours has the name of another machine.

    Proxmox writes name and tags at the same time (qemu-server, API2/Qemu.pm ``create_vm``), but
    tells a name up to ten seconds later: none until then, or the one of a VM that has no name yet
    (pve-manager, API2Tools.pm ``extract_vm_stats``; QemuServer.pm ``vmstatus``).
    """
    return guest.name not in ("", f"VM {guest.vm_id}", node.name)


def _is_free(get: Callable[[str], Any], vm_id: int) -> bool:
    """Whether nobody in the whole cluster has an id, whatever the token may see."""
    try:
        get(f"/cluster/nextid?vmid={vm_id}")
    except urllib.error.HTTPError as error:
        error.close()
        # 400 is "VM 8000 already exists". Any other refusal says nothing of the id, and the list
        # of guests has said that it is free.
        return error.code != 400
    return True


def _guest(entry: dict[str, Any]) -> Guest:
    return Guest(
        vm_id=int(entry["vmid"]),
        name=entry.get("name") or "",
        host=entry["node"],
        kind=entry["type"],
        tags=proxmox_api.tags_of(entry),
        is_running=entry.get("status") == "running",
        uptime_s=int(entry.get("uptime") or 0),
        pool=entry.get("pool") or "",
    )


def pool_comment(stack_tag: str) -> str:
    """What the castle's own pool is known by."""
    return f"Machines of {stack_tag}"


def mac_address(stack_tag: str, vm_id: int) -> str:
    """A MAC address that stays the same through every rebuild: locally administered, unicast."""
    digest = hashlib.sha256(f"{stack_tag}/{vm_id}".encode()).digest()
    return ":".join(f"{byte:02X}" for byte in (0x02, *digest[:5]))
