"""What Proxmox has already under names that we want: VM ids, and the pool."""

from __future__ import annotations

from collections.abc import Iterator

from clients.proxmox.guests import GuestListError, list_guests, pool_comment, refusal, strangers
from doctor.context import Context
from doctor.findings import CannotTellError, Finding, failure, ok, warning


def check(context: Context) -> Iterator[Finding]:
    """The ids are free or ours, and so is the pool."""
    settings, proxmox = context.settings, context.proxmox
    proxmox.guests()
    wanted = [node.vm_id for node in settings.machines]
    try:
        guests = list_guests(settings.proxmoxve, wanted)
    except GuestListError as error:
        raise CannotTellError(str(error)) from None
    taken = strangers(guests, settings.machines, settings.stack_tag)
    for node, guest in taken:
        text, _, fix = refusal(node, guest, settings.stack_tag).partition(". ")
        text = f"is wanted for {node.name}, and taken: {text.partition(' is taken: ')[2]}"
        subject = f"VM id {node.vm_id}"
        if settings.stack_tag in guest.tags:
            yield warning(
                subject,
                f"is wanted for {node.name}, and this castle's {guest.name} has it: if that was "
                "renamed by hand and is in the state all is well, or else it is refused before it "
                "is touched",
                fix.removesuffix(" Nothing has been touched."),
            )
        elif guest.name == node.name:
            yield warning(
                subject,
                f"belongs to a machine named {node.name} without this castle's tag: if it is in "
                "the state all is well, or else it is refused before it is touched",
                f"if it is ours, give it the tag {settings.stack_tag} in Proxmox",
            )
        else:
            yield failure(subject, text, fix)
    if not taken:
        ours = sum(guest.vm_id in wanted for guest in guests)
        text = f"are free, or ours: {ours} of {len(wanted)} machines are there"
        yield ok("VM ids", text)
    yield from _pool(context)


def _pool(context: Context) -> Iterator[Finding]:
    settings = context.settings
    name = settings.proxmox.pool
    if name is None:
        return
    comments = {entry["poolid"]: entry.get("comment") for entry in context.proxmox.read("/pools")}
    if name not in comments:
        yield ok(f"pool {name}", "is free")
    elif comments[name] == pool_comment(settings.stack_tag):
        yield ok(f"pool {name}", "is ours")
    else:
        yield failure(
            f"pool {name}",
            "exists, and does not say that it is this castle's: it would be in the way",
            "choose another proxmox.pool; if it is ours, comment it: "
            f"{pool_comment(settings.stack_tag)}",
        )
