"""Check that VM ids and the pool are free, or belong to this stack."""

from __future__ import annotations

from collections.abc import Iterator

from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import Guest, find_conflicts, list_guests, pool_comment
from doctor.context import Context
from doctor.findings import CannotCheckError, Finding, failure, ok, warning
from settings.node import Node

_KINDS = {"lxc": "container", "qemu": "virtual machine"}


def check_vm_ids(context: Context) -> Iterator[Finding]:
    """Check that the VM ids of all nodes and the pool are free or belong to this stack."""
    settings, proxmox = context.settings, context.proxmox
    proxmox.guests()
    wanted = [node.vm_id for node in settings.machines]
    try:
        guests = list_guests(settings.proxmoxve, wanted)
    except ProxmoxError as error:
        raise CannotCheckError(str(error)) from None
    conflicts = find_conflicts(guests, settings.machines, settings.stack_tag)
    for node, guest in conflicts:
        yield _report_conflict(node, guest, settings.stack_tag)
    if not conflicts:
        existing = sum(guest.vm_id in wanted for guest in guests)
        text = f"are free or used by this stack: {existing} of {len(wanted)} VMs exist"
        yield ok("VM ids", text)
    yield from _check_pool(context)


def _report_conflict(node: Node, guest: Guest, stack_tag: str) -> Finding:
    subject = f"VM id {node.vm_id}"
    if stack_tag in guest.tags:
        return warning(
            subject,
            f"is needed for {node.name}, but this stack's {guest.name} on {guest.host} has it; "
            "`up` continues only if the Pulumi state has this VM and somebody renamed it in "
            "Proxmox, otherwise `up` stops before it changes the VM",
            "set cluster.name, proxmox.first_vm_id or the vm_id in nodes.overrides back, or run "
            f"`make down` first; if somebody renamed the VM in Proxmox, name it {node.name} again",
        )
    if guest.name == node.name:
        return warning(
            subject,
            f"belongs to a VM named {node.name} without the tag of this stack; `up` continues only "
            "if the Pulumi state has this VM, otherwise `up` stops before it changes the VM",
            f"if the VM belongs to this stack, give it the tag {stack_tag} in Proxmox",
        )
    kind = _KINDS.get(guest.kind, "guest")
    # Proxmox lists a new guest, and a guest on a host that does not answer, without its name.
    name = f"'{guest.name}'" if guest.name else "without a known name"
    return failure(
        subject,
        f"is needed for {node.name}, but taken: on {guest.host} it is the {kind} {name}, which "
        "does not belong to this stack",
        f"choose another proxmox.first_vm_id, or a vm_id for {node.short_name} in nodes.overrides; "
        f"if the guest is a VM of this stack that lost its tag, give it the tag {stack_tag} in "
        "Proxmox",
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
