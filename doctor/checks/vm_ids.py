"""Check that VM ids and the pool are free, or belong to this stack, and the hardware of its VMs."""

from __future__ import annotations

from collections.abc import Iterator

from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import (
    Ownership,
    VmIdConflict,
    find_conflicts,
    list_guests,
    pool_comment,
)
from doctor.context import Context
from doctor.findings import CannotCheckError, Finding, failure, ok, warning
from preflight.hardware import hardware_notes


def check_vm_ids(context: Context) -> Iterator[Finding]:
    """Check that the VM ids of all nodes and the pool are free or belong to this stack, and that
    ``up`` can change its VMs without removing what somebody added in Proxmox."""
    settings, proxmox = context.settings, context.proxmox
    proxmox.guests()
    wanted = [node.vm_id for node in settings.machines]
    try:
        guests = list_guests(settings.proxmoxve, wanted)
    except ProxmoxError as error:
        raise CannotCheckError(str(error)) from None
    conflicts = find_conflicts(guests, settings.machines, settings.stack_tag)
    for conflict in conflicts:
        yield _report_conflict(conflict)
    if not conflicts:
        existing = sum(guest.vm_id in wanted for guest in guests)
        text = f"are free or used by this stack: {existing} of {len(wanted)} VMs exist"
        yield ok("VM ids", text)
    for found in hardware_notes(guests, settings):
        yield warning(found.subject, found.finding, found.fix)
    yield from _check_pool(context)


def _report_conflict(conflict: VmIdConflict) -> Finding:
    subject = f"VM id {conflict.guest.vm_id} for {conflict.name}"
    if conflict.owner is not Ownership.STACK:
        return failure(subject, conflict.reason, conflict.fix)
    return warning(
        subject,
        f"{conflict.reason}; `up` continues only if the Pulumi state has this VM and somebody "
        "renamed it in Proxmox, otherwise `up` stops before it changes the VM",
        conflict.fix,
    )


def _check_pool(context: Context) -> Iterator[Finding]:
    settings = context.settings
    name = settings.proxmox.pool
    if name is None:
        return
    comments = {entry["poolid"]: entry.get("comment") for entry in context.proxmox.read("/pools")}
    comment = pool_comment(settings.stack_tag)
    if name not in comments:
        yield ok(f"pool {name}", "is free")
    elif comments[name] == comment:
        yield ok(f"pool {name}", "belongs to this stack")
    else:
        yield failure(
            f"pool {name}",
            "exists, but its comment does not name this stack, so `up` cannot create the pool",
            "choose another proxmox.pool; if the pool belongs to this stack, set its comment in "
            f"Proxmox to: {comment}",
        )
