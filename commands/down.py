"""Takes the castle away, and looks whether anything of it is left."""

from __future__ import annotations

from collections.abc import Sequence

from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import Session, SessionError
from commands import backup, last_up, orphaned_resources, recover, running_tasks
from commands.ask import answers, confirmed
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER
from settings.resource_types import MACHINE

PROXMOX = ["refresh", "--target", "**VmLegacy**", "--target", "**download/file:File**"]
"""Compares machines and images with what is really there: the cluster itself may be dead.

The images are among them because one on a host that has left Proxmox' cluster cannot be deleted;
read, it is given up (bpg/terraform-provider-proxmox v0.111.1
fwprovider/nodes/resource_download_file.go Read)."""

PARTIAL = ("--target", "-t", "--exclude", "-x")
"""How the words of the CLI begin with which not all of the castle goes."""
ONLY_LOOKS = frozenset({"--preview-only", "--preview-only=true"})
"""The CLI's own words for: show what would be done, and do nothing."""


def down(session: Session, more: Sequence[str]) -> int:
    """Destroy all of the stack; ``more`` goes to the CLI. Returns an exit code.

    What the engine does not know and what cannot be removed is told, and does not keep the rest.
    """
    if ONLY_LOOKS & set(more):
        return session.run(["destroy"], more)
    if code := recover.clear_leftovers(session, more):
        return code
    if not _is_a_part(more):
        running_tasks.wait(session)
    if not backup.before_destroy(session, more):
        return 1
    _forget_lost_machines(session, more)
    unknown = _unknown_machines(session, more)
    if not _agreed(unknown, more):
        return 1
    failed = _remove(unknown)
    if code := session.run(["destroy"], more):
        return code
    try:
        if session.deployment().get("resources"):
            return failed  # only a part of it was wanted
        last_up.settle(PROJECT_FOLDER, session.stack)
        # What did not go before is seen again here, or has gone since.
        return _remove_remains(session, more)
    except (SessionError, SettingsError, orphaned_resources.OrphanSearchError) as error:
        print(f"What the engine knew is gone. Whether anything else is left was not seen: {error}")
        return 1


def _is_a_part(more: Sequence[str]) -> bool:
    return any(word.startswith(PARTIAL) for word in more)


def _forget_lost_machines(session: Session, more: Sequence[str]) -> None:
    """Take out of the state what somebody deleted by hand: the provider stops at it.

    Where none is gone, nothing is said. Otherwise the CLI shows what it would forget, and asks.
    Should any of this fail, the destroy that follows says why.
    """
    if not session.succeeds([*PROXMOX, "--preview-only", "--expect-no-changes"]):
        print("Proxmox is not as the state has it; a look at that first.", flush=True)
        session.run(PROXMOX, answers(more))


def _unknown_machines(
    session: Session, more: Sequence[str]
) -> list[orphaned_resources.OrphanedResource]:
    """Machines of ours that the engine does not know: their pool would not go, for it is not empty.

    Where nobody can be asked, the destroy that follows says why; a part of the castle that is to go
    is not asked about.
    """
    if _is_a_part(more):
        return []
    try:
        resources = session.deployment().get("resources") or []
        machines = [it for it in resources if it["type"] == MACHINE]
        known = {int(it["outputs"]["vmId"]) for it in machines if "vmId" in it.get("outputs", {})}
        if not resources:
            return []  # they are among what is left, which is looked for in a moment
        settings = stack_settings.settings(session)
        return orphaned_resources.machines(settings.proxmoxve, settings.stack_tag, known)
    except (SessionError, SettingsError, orphaned_resources.OrphanSearchError):
        return []


def _remove_remains(session: Session, more: Sequence[str]) -> int:
    """What a run made that was cut off before it could write it down; an exit code."""
    settings = stack_settings.settings(session)
    found = orphaned_resources.look(settings.proxmoxve, settings.stack_tag)
    return _remove(found) if _agreed(found, more) else 1


def _agreed(found: Sequence[orphaned_resources.OrphanedResource], more: Sequence[str]) -> bool:
    """Show what the engine does not know, and ask whether it may go."""
    if not found:
        return True
    print("The engine knows nothing of these, but they bear the castle's mark:")
    return confirmed((f"remove {thing.sentence}" for thing in found), "Remove them?", more)


def _remove(found: Sequence[orphaned_resources.OrphanedResource]) -> int:
    """Remove what is found, one after the other; an exit code, 1 where something did not go."""
    code = 0
    for thing in found:
        try:
            thing.remove()
        except orphaned_resources.OrphanSearchError as error:
            print(error, flush=True)
            code = 1
        else:
            print(f"Removed {thing.sentence}.", flush=True)
    return code
