"""Lists the guests of Proxmox, and tells which of them belong to the stack."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError

if TYPE_CHECKING:
    from settings.groups import Endpoint
    from settings.node import Node

_MAC = re.compile(r"(?i)(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
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
    mac_addresses: frozenset[str] | None = None
    """MAC addresses of its network devices, in capital letters. ``None`` if they were not read, or
    cannot be read."""
    lock: str = ""
    """Why Proxmox locks it (``backup``, ``create`` ...); empty if it does not."""
    config: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Its configuration in Proxmox, such as ``net0`` and ``scsi0``. Empty if it was not read, or
    cannot be read."""

    @property
    def is_partly_created(self) -> bool:
        """Whether Proxmox still creates it, or lost power while it did: until all disks are
        imported it has no name, tag or MAC address (qemu-server PVE/API2/Qemu.pm ``create_vm``)."""
        return self.lock == "create" and not self.mac_addresses

    @property
    def is_off(self) -> bool:
        """Whether it is known not to run."""
        return not self.is_running and not self.has_unknown_status


def list_guests(proxmox: Endpoint, wanted: Iterable[int] | None = None) -> list[Guest]:
    """All guests of the Proxmox cluster, also on hosts that are switched off.

    Reads the configuration of the ``wanted`` VM ids, which has the MAC addresses, and whether they
    run if the list does not know it; ``None`` reads those of all VMs.

    The token sees only guests that it may audit. So this also asks whether each ``wanted`` VM id
    that is not in the list is free. If it is taken, the result has a ``Guest`` with a placeholder
    as name and host. Raises ``ProxmoxError``.
    """
    get = proxmox_api.caller(proxmox)
    path = "/cluster/resources?type=vm"
    with proxmox_api.translated_errors(proxmox, f"GET {path}"):
        guests = [_guest(entry) for entry in get(path)]
    ids = {guest.vm_id for guest in guests} if wanted is None else set(wanted)
    unlisted = sorted(ids - {guest.vm_id for guest in guests})
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        read = pool.map(lambda it: _with_details(get, it) if it.vm_id in ids else it, guests)
        free = list(pool.map(lambda vm_id: is_free(get, vm_id), unlisted))
        guests = list(read)
    guests += [
        Guest(vm_id, "one that the token may not see", "some host", "guest")
        for vm_id, id_is_free in zip(unlisted, free, strict=True)
        if not id_is_free
    ]
    return guests


def _with_details(get: Callable[[str], Any], guest: Guest) -> Guest:
    """The guest with its configuration and status, if they can be read. Only a VM has them.

    A host that has just booted has not reported yet which of its VMs run, so it is asked.
    """
    if guest.kind != "qemu":
        return guest
    path = f"/nodes/{guest.host}/qemu/{guest.vm_id}"
    try:
        config = get(f"{path}/config")
        if guest.has_unknown_status:
            current = _guest({**get(f"{path}/status/current"), "node": guest.host, "type": "qemu"})
            guest = replace(current, tags=guest.tags, pool=guest.pool)
    except ProxmoxError:
        return guest
    devices = [str(value) for key, value in config.items() if re.fullmatch(r"net\d+", key)]
    found = frozenset(mac.upper() for mac in _MAC.findall(" ".join(devices)))
    text = {key: str(value) for key, value in config.items()}
    # The list has no name yet, or the former name of a VM id that was used again a moment ago.
    name = text.get("name", guest.name)
    return replace(guest, name=name, mac_addresses=found, config=text)


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


class Ownership(StrEnum):
    """To whom a guest belongs that has a VM id of the stack (``ownership``)."""

    STACK = "stack"
    """It is a VM of the stack."""
    OTHER = "other"
    """It belongs to somebody else, even if the Pulumi state has its VM id."""
    CHANGED = "changed"
    """It has the stack's tag and is in the Pulumi state, but its MAC address was changed, or it is
    a clone that replaced the VM. Only a person can tell."""
    UNKNOWN = "unknown"
    """Its configuration cannot be read, because its host does not answer or the token may not."""


def ownership(guest: Guest, stack_tag: str, in_state: bool) -> Ownership:
    """To whom a guest belongs. ``in_state``: the Pulumi state has a VM with its VM id.

    The MAC address decides, because it is calculated from stack and VM id, so a clone or a backup
    restored to another VM id has another one. Name and status do not count: Proxmox lists them up
    to ten seconds after the creation of a VM, and not while its host does not answer
    (pve-manager, API2Tools.pm ``extract_vm_stats``).

    ============== ============== ============ =========
    MAC address    tag            in the state result
    ============== ============== ============ =========
    of the stack   any            any          STACK
    another        of the stack   yes          CHANGED
    another        of the stack   no           OTHER
    another        another        any          OTHER
    unreadable     of the stack   yes          STACK
    unreadable     any other case              UNKNOWN
    ============== ============== ============ =========
    """
    tag_and_state = stack_tag in guest.tags and in_state
    if guest.kind == "lxc":
        return Ownership.OTHER
    if guest.mac_addresses is None:
        return Ownership.STACK if tag_and_state else Ownership.UNKNOWN
    if mac_address(stack_tag, guest.vm_id) in guest.mac_addresses:
        return Ownership.STACK
    return Ownership.CHANGED if tag_and_state else Ownership.OTHER


@dataclass(frozen=True, kw_only=True)
class VmIdConflict:
    """A VM id of the stack that another guest has. As text: with node, reason and fix."""

    name: str
    """The node for which the stack needs the VM id, or whose VM the Pulumi state has."""
    guest: Guest
    owner: Ownership
    """``STACK`` if the guest is another node of this stack."""
    reason: str
    """Which guest has the VM id, as the rest of a sentence."""
    fix: str
    """What to do, as the rest of a sentence."""

    def __str__(self) -> str:
        return (
            f"VM id {self.guest.vm_id}, wanted for {self.name}, {self.reason}. "
            f"{self.fix[0].upper()}{self.fix[1:]}. Nothing has been touched."
        )


def find_conflicts(
    guests: Iterable[Guest],
    nodes: Sequence[Node],
    stack_tag: str,
    names_in_state: Mapping[int, str] = MappingProxyType({}),
) -> list[VmIdConflict]:
    """Find VM ids of the stack that belong to somebody else or to another node of the stack.

    These are the VM ids of the planned ``nodes`` and those of the Pulumi state
    (``names_in_state``: by VM id the name of the node), which an ``up`` may change or delete.
    """
    planned = {node.vm_id: node.name for node in nodes}
    found = []
    for guest in guests:
        name = planned.get(guest.vm_id) or names_in_state.get(guest.vm_id)
        if name is None:
            continue
        in_state = guest.vm_id in names_in_state
        owner = ownership(guest, stack_tag, in_state)
        if owner is not Ownership.STACK:
            found.append(describe_conflict(guest, name, stack_tag, owner, in_state))
        elif _is_another_node(name, guest, names_in_state):
            found.append(_conflict_with_node(name, guest, names_in_state))
    return found


def describe_conflict(
    guest: Guest, name: str, stack_tag: str, owner: Ownership, in_state: bool
) -> VmIdConflict:
    """The conflict with a guest that is not known to be a VM of the stack.

    ``name`` is the node for which the stack needs the VM id.
    """
    kind = {"lxc": "container", "qemu": "virtual machine"}.get(guest.kind, "guest")
    # Proxmox lists new guests, and guests on hosts that do not answer, without a name.
    called = f"'{guest.name}'" if guest.name else "without a known name"
    reason = f"is taken: on {guest.host} it belongs to the {kind} {called}"
    override = f"nodes.overrides.{short_name(name)}.vm_id"
    match owner:
        case Ownership.CHANGED:
            mac = mac_address(stack_tag, guest.vm_id)
            reason += f", which has the tag {stack_tag}, but not the MAC address {mac} of {name}"
            fix = (
                f"if it is {name}, set the MAC address of its network device in Proxmox back to "
                f"{mac}; if it is another machine, remove the tag from it"
            )
        case _ if guest.is_partly_created:
            reason = f"is taken: {partly_created(guest)}"
            fix = partly_created_fix(guest)
        case Ownership.UNKNOWN:
            reason += ", whose configuration cannot be read"
            fix = (
                f"check that {guest.host} answers and that the API token has the privilege "
                f"VM.Audit on /vms/{guest.vm_id}, or set another {override} or "
                "proxmox.first_vm_id"
            )
        case _ if in_state:
            reason += f", which is not part of this stack. {name} does not exist any more"
            fix = (
                f"run `make recover`, which removes {name} from the Pulumi state and leaves the "
                f"other machine alone; then set another {override}"
            )
        case _:
            reason += ", which is not part of this stack"
            fix = f"set another {override} or proxmox.first_vm_id"
    return VmIdConflict(name=name, guest=guest, owner=owner, reason=reason, fix=fix)


def partly_created(guest: Guest) -> str:
    """What is wrong with a VM that is partly created, as a sentence without its end."""
    return (
        f"VM {guest.vm_id} on {guest.host} is locked (create), because Proxmox still creates it or "
        "lost power while it did"
    )


def partly_created_fix(guest: Guest) -> str:
    """How to remove such a VM, as the rest of a sentence. No API token may do it."""
    return (
        f"if no task on {guest.host} creates it, for example after a power cut, run as root on "
        f"{guest.host}: `qm unlock {guest.vm_id} && qm destroy {guest.vm_id} "
        "--destroy-unreferenced-disks 1`"
    )


def _is_another_node(name: str, guest: Guest, names_in_state: Mapping[int, str]) -> bool:
    """Whether a VM of the stack is another node than ``name``.

    The Pulumi state knows better than the name in Proxmox, which a user may have changed. A new VM
    may have no name yet, or ``VM 8010`` (proxmox/qemu-server, QemuServer.pm ``vmstatus``).
    """
    if known := names_in_state.get(guest.vm_id):
        return known != name
    return guest.name not in ("", f"VM {guest.vm_id}", name)


def _conflict_with_node(name: str, guest: Guest, names_in_state: Mapping[int, str]) -> VmIdConflict:
    other = names_in_state.get(guest.vm_id, guest.name)
    return VmIdConflict(
        name=name,
        guest=guest,
        owner=Ownership.STACK,
        reason=f"is taken: on {guest.host} it belongs to {other} of this stack",
        fix=(
            "set cluster.name, proxmox.first_vm_id or the vm_id in nodes.overrides back to the old "
            "value, or run `make down` first; if somebody renamed the VM in Proxmox, rename it to "
            f"{name}"
        ),
    )


def short_name(node: str) -> str:
    """The name of a node in ``nodes.overrides``: ``worker-1`` of ``castle-worker-1``."""
    found = re.search(r"(control-plane|worker)-\d+$", node)
    return found[0] if found else node


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
        lock=entry.get("lock") or "",
    )


def pool_comment(stack_tag: str) -> str:
    """The comment that identifies the resource pool of a stack."""
    return f"Machines of {stack_tag}"


def mac_address(stack_tag: str, vm_id: int) -> str:
    """A locally administered unicast MAC address, the same in every rebuild of a VM."""
    digest = hashlib.sha256(f"{stack_tag}/{vm_id}".encode()).digest()
    return ":".join(f"{byte:02X}" for byte in (0x02, *digest[:5]))
