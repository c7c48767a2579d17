"""Compares the VMs in the Pulumi state with Proxmox, before a command refreshes or destroys.

- Somebody deleted a VM of the stack by hand, and another machine got its VM id. A refresh would
  take this machine for that of the stack, and a destroy would delete it with its disks.
- Somebody, or Proxmox' high availability, moved a VM to another host. The provider looks for it on
  its former host only, so a refresh would take it for deleted.
- A VM is off, after a power cut or by hand. Without a refresh the provider would not start it.

``pulumi refresh`` and ``pulumi destroy`` themselves run no code of this project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import (
    Ownership,
    VmIdConflict,
    describe_conflict,
    list_guests,
    ownership,
    pool_comment,
)
from clients.pulumi_cli.session import PulumiError, Session
from clients.pulumi_cli.state import opened
from commands import state_repair
from commands.ask import confirmed
from settings.groups import Endpoint, stack_tag
from settings.resource_types import MACHINE, PROXMOX_PROVIDER


@dataclass(frozen=True, kw_only=True)
class ForeignVm:
    """A VM in the Pulumi state whose VM id belongs to somebody else, or may do so."""

    urn: str
    conflict: VmIdConflict

    @property
    def sentence(self) -> str:
        """What is wrong, and what happens to the other machine."""
        guest = self.conflict.guest
        machine = f"'{guest.name}'" if guest.name else "the machine without a known name"
        return (
            f"VM id {guest.vm_id} of {self.conflict.name}: remove {self.conflict.name} from the "
            f"Pulumi state, and leave {machine} on {guest.host} alone"
        )


def correct_state(session: Session, *, for_up: bool = False) -> list[ForeignVm]:
    """Correct the hosts of moved VMs in the state; returns the VMs that do not exist any more,
    because their VM id belongs to somebody else.

    ``for_up``: also correct the state of VMs that are off, so that an ``up`` starts them.

    The access to Proxmox is that of the last ``up``, so the stack file may be wrong. Raises
    ``PulumiError``, and ``ProxmoxError`` if Proxmox does not answer.
    """
    resources = session.resources(secrets=True)
    vms = by_vm_id(resources)
    proxmox = _endpoint(resources)
    if not vms or proxmox is None:
        return []
    tag = stack_tag(session.stack)
    found = []
    values: dict[str, dict[str, Any]] = {}
    for guest in list_guests(proxmox, list(vms)):
        if (vm := vms.get(guest.vm_id)) is None:
            continue
        owner = ownership(guest, tag, in_state=True)
        name = str(vm["inputs"]["name"])
        if owner is not Ownership.STACK:
            conflict = describe_conflict(guest, name, tag, owner, in_state=True)
            found.append(ForeignVm(urn=vm["urn"], conflict=conflict))
            continue
        changed = values.setdefault(vm["urn"], {})
        if guest.host != vm["outputs"].get("nodeName"):
            changed["nodeName"] = guest.host
            print(f"{name} was moved to {guest.host}: the Pulumi state is corrected.", flush=True)
        if for_up and guest.is_off and vm["outputs"].get("started"):
            changed["started"] = False
            print(f"{name} is switched off: the Pulumi state is corrected.", flush=True)
    if any(values.values()):
        session.replace_state(state_repair.with_values(session.exported(), values))
    return found


def prepare_up(session: Session) -> int:
    """Correct moved VMs, and VMs that are off, in the Pulumi state; returns an exit code.

    The program checks whether a VM id belongs to somebody else, and whether Proxmox answers.
    """
    try:
        correct_state(session, for_up=True)
    except ProxmoxError:
        return 0
    except PulumiError as error:
        print(error)
        return 1
    return 0


def release(session: Session, cli_args: Sequence[str], *, for_destroy: bool) -> bool:
    """Remove these VMs from the Pulumi state, after a question; returns whether to continue.

    Only a person can tell whether a VM with another MAC address is that of the stack. So nothing is
    done then, unless the stack is destroyed (``for_destroy``): then that VM is left alone, too.
    Raises ``PulumiError`` and ``ProxmoxError``.
    """
    vms = correct_state(session)
    undecided = [vm for vm in vms if vm.conflict.owner is not Ownership.OTHER]
    if undecided and not for_destroy:
        print("\n".join(str(vm.conflict) for vm in undecided), flush=True)
        return False
    if vms:
        print("These VM ids belong to somebody else:")
        if not confirmed((vm.sentence for vm in vms), "Continue?", cli_args):
            return False
        session.replace_state(state_repair.without(session.exported(), {vm.urn for vm in vms}))
    return True


def refresh(session: Session, cli_args: Sequence[str]) -> int:
    """Run ``pulumi refresh``, unless a VM id belongs to somebody else; returns an exit code."""
    try:
        vms = correct_state(session)
    except (PulumiError, ProxmoxError) as error:
        print(error)
        return 1
    for vm in vms:
        print(vm.conflict)
    return 1 if vms else session.run(["refresh"], cli_args)


def take_others_out_of_pool(session: Session) -> None:
    """Take machines of others out of the stack's pool, because Proxmox deletes only empty pools.

    Raises ``PulumiError`` and ``ProxmoxError``.
    """
    proxmox = _endpoint(session.resources(secrets=True))
    if proxmox is None:
        return
    tag = stack_tag(session.stack)
    call = proxmox_api.caller(proxmox)
    pools = {it["poolid"] for it in call("/pools") if it.get("comment") == pool_comment(tag)}
    for guest in list_guests(proxmox) if pools else ():
        if guest.pool in pools and ownership(guest, tag, in_state=False) is Ownership.OTHER:
            form = {"poolid": guest.pool, "vms": str(guest.vm_id), "delete": "1"}
            call("/pools", "PUT", form)
            print(f"Took VM {guest.vm_id} ({guest.name}) out of the pool {guest.pool}.", flush=True)


def by_vm_id(resources: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The VMs among the resources of a state, by VM id."""
    vms = (it for it in resources if it["type"] == MACHINE and "vmId" in (it.get("outputs") or {}))
    return {int(vm["outputs"]["vmId"]): vm for vm in vms}


def _endpoint(resources: Sequence[Mapping[str, Any]]) -> Endpoint | None:
    """The access to Proxmox in the state, whose secrets are in plain text; ``None`` if it has
    none."""
    for resource in resources:
        if resource["type"] == PROXMOX_PROVIDER:
            inputs = resource.get("inputs") or {}
            token = opened(inputs.get("apiToken"))
            if not isinstance(token, str):
                return None
            return Endpoint(
                endpoint=inputs["endpoint"],
                apiToken=SecretStr(token),
                insecure=opened(inputs.get("insecure")) in (True, "true"),
            )
    return None
