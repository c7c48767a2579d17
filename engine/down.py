"""Takes the castle away, and looks whether anything of it is left."""

from __future__ import annotations

from collections.abc import Sequence

from engine import backup, castle, last_up, recover, remains, unfinished
from engine.ask import answers, confirmed
from engine.session import PROJECT_FOLDER, Session, SessionError
from rehearsal.kinds import MACHINE
from settings import SettingsError

MACHINES = ["refresh", "--target", "**VmLegacy**"]
"""Compares the machines with what is really there, and nothing else: the cluster may be dead."""

PARTIAL = ("--target", "-t", "--exclude", "-x", "--preview-only")
"""How the words of the CLI begin with which not all of the castle goes."""


def down(session: Session, more: Sequence[str]) -> int:
    """Destroy all of the stack; ``more`` goes to the CLI. Returns an exit code."""
    if code := recover.clear_leftovers(session, more):
        return code
    if not _is_a_part(more):
        unfinished.wait(session)
    if "--preview-only" not in more and not backup.before_destroy(session, more):
        return 1
    _forget_lost_machines(session, more)
    try:
        if code := _remove_unknown_machines(session, more):
            return code
    except remains.RemainsError as error:
        print(error)
        return 1
    if code := session.run(["destroy"], more):
        return code
    try:
        if session.deployment().get("resources"):
            return 0  # a part of it was wanted, or a look at what would be done
        last_up.settle(PROJECT_FOLDER, session.stack)
        return _remove_remains(session, more)
    except (SessionError, SettingsError, remains.RemainsError) as error:
        print(f"What the engine knew is gone. Whether anything else is left was not seen: {error}")
        return 1


def _is_a_part(more: Sequence[str]) -> bool:
    return any(word.startswith(PARTIAL) for word in more)


def _forget_lost_machines(session: Session, more: Sequence[str]) -> None:
    """Take machines that somebody deleted by hand out of the state: the provider stops at them.

    Where none is gone, nothing is said. Otherwise the CLI shows what it would forget, and asks.
    Should any of this fail, the destroy that follows says why.
    """
    if not session.succeeds([*MACHINES, "--preview-only", "--expect-no-changes"]):
        print("Some machines are not as the state has them; a look at them first.", flush=True)
        session.run(MACHINES, answers(more))


def _remove_unknown_machines(session: Session, more: Sequence[str]) -> int:
    """Machines of ours that the engine does not know: their pool would not go, for it is not empty.

    Where nobody can be asked, the destroy that follows says why; a part of the castle that is to go
    is not asked about.
    """
    if _is_a_part(more):
        return 0
    try:
        resources = session.deployment().get("resources") or []
        machines = [it for it in resources if it["type"] == MACHINE]
        known = {int(it["outputs"]["vmId"]) for it in machines if "vmId" in it.get("outputs", {})}
        if not resources:
            return 0  # they are among what is left, which is looked for in a moment
        settings = castle.settings(session)
        found = remains.machines(settings.proxmoxve, settings.owner, known)
    except (SessionError, SettingsError, remains.RemainsError):
        return 0
    return _remove(found, settings.owner, more)


def _remove_remains(session: Session, more: Sequence[str]) -> int:
    """What a run made that was cut off before it could write it down."""
    settings = castle.settings(session)
    found = remains.look(settings.proxmoxve, settings.owner)
    return _remove(found, settings.owner, more)


def _remove(found: list[remains.Remain], owner: str, more: Sequence[str]) -> int:
    """Show what the engine does not know, ask, and remove it; returns an exit code."""
    if not found:
        return 0
    print(f"The engine knows nothing of these, but they bear the mark {owner}:")
    if not confirmed((f"remove {thing.sentence}" for thing in found), "Remove them?", more):
        return 1
    for thing in found:
        thing.remove()
        print(f"Removed {thing.sentence}.", flush=True)
    return 0
