"""Takes the castle away, and looks whether anything of it is left."""

from __future__ import annotations

from collections.abc import Sequence

from engine import castle, recover, remains
from engine.ask import confirmed
from engine.session import Session, SessionError
from settings import SettingsError

MACHINES = ["refresh", "--target", "**VmLegacy**"]
"""Compares the machines with what is really there, and nothing else: the cluster may be dead."""


def down(session: Session, more: Sequence[str]) -> int:
    """Destroy all of the stack; ``more`` goes to the CLI. Returns an exit code."""
    if code := recover.clear_leftovers(session, more):
        return code
    _forget_lost_machines(session, more)
    if code := session.run(["destroy"], more):
        return code
    try:
        if session.deployment().get("resources"):
            return 0  # a part of it was wanted, or a look at what would be done
        return _remove_remains(session, more)
    except (SessionError, SettingsError, remains.RemainsError) as error:
        print(f"What the engine knew is gone. Whether anything else is left was not seen: {error}")
        return 1


def _forget_lost_machines(session: Session, more: Sequence[str]) -> None:
    """Take machines that somebody deleted by hand out of the state: the provider stops at them.

    Where none is gone, nothing is said. Otherwise the CLI shows what it would forget, and asks.
    Should any of this fail, the destroy that follows says why.
    """
    if not session.succeeds([*MACHINES, "--preview-only", "--expect-no-changes"]):
        print("Some machines are not as the state has them; a look at them first.", flush=True)
        session.run(MACHINES, more)


def _remove_remains(session: Session, more: Sequence[str]) -> int:
    """What a run made that was cut off before it could write it down."""
    settings = castle.settings(session)
    found = remains.look(settings.proxmoxve, settings.owner)
    if not found:
        return 0
    print(f"The engine knew nothing of these, but they bear the mark {settings.owner}:")
    if not confirmed((f"remove {thing.sentence}" for thing in found), "Remove them?", more):
        return 1
    for thing in found:
        thing.remove()
        print(f"Removed {thing.sentence}.", flush=True)
    return 0
