"""Brings what a killed or failed run left to a clean state, with no surgery on it by hand.

It says what it found and what it will do, asks, and does it:

1. what lies on this machine: providers that lost their engine, a lock, a half-written file; what
   Proxmox still does for them is waited for;
2. disks that the state has lost: what was asked for is put there again (state_repair.py);
3. creates that nobody knows the outcome of, and machines that are not as the state has them: the
   engine looks at what is really there (its own ``refresh``);
4. a pool and Helm releases that were made and never written down: the pool is empty then, and goes;
   of a release Helm's record goes, so that the next ``up`` installs over it.

Everything else the next ``up`` takes up by itself: machines and images of ours, objects in
Kubernetes, the bootstrap.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clients.kubernetes.api import ApiError, ClusterApi
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import Session, SessionError
from commands import (
    helm_records,
    last_up,
    orphaned_resources,
    running_tasks,
    stale_processes,
    state_repair,
)
from commands.ask import answers, confirmed
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER
from settings.resource_types import MACHINE, RELEASE

POOL = "proxmoxve:index/poolLegacy:PoolLegacy"
OUTSIDE = ("**proxmoxve**",)
"""What can be looked at while the Kubernetes API is dead: all that Proxmox knows."""
BUSY = 3
"""Exit code: another run is going on."""


@dataclass(frozen=True)
class Aftermath:
    """What the state says about the end of the last run."""

    pending: tuple[str, ...]
    """Names of what was being made when it ended."""
    half_made: tuple[str, ...]
    """Names of machines that were made, and not to their end: a disk may have the wrong size."""
    torn: tuple[str, ...]
    """Names of machines of which the state has lost a disk."""

    @classmethod
    def of(cls, deployment: dict[str, Any]) -> Aftermath:
        """Read it from a state."""
        return cls(
            tuple(_name(o["resource"]["urn"]) for o in deployment.get("pending_operations") or ()),
            tuple(
                _name(resource["urn"])
                for resource in deployment.get("resources") or ()
                if resource.get("initErrors") and resource["type"] == MACHINE
            ),
            state_repair.machines(deployment),
        )

    def __bool__(self) -> bool:
        return bool(self.pending or self.half_made or self.torn)

    def sentences(self) -> Iterator[str]:
        """What was found, a line each."""
        if self.pending:
            yield f"nobody knows what became of {', '.join(self.pending)}: look"
        if self.half_made:
            yield f"not made to its end: {', '.join(self.half_made)}: look"


def clear_leftovers(session: Session, more: Sequence[str]) -> int:
    """Clear away what killed runs left on this machine, after asking; returns an exit code."""
    found = stale_processes.look(PROJECT_FOLDER, session.stack)
    if code := _keep_out(found):
        return code
    if found:
        print("A run before this one was cut off. Found on this machine:")
        if not _may_clear(found, "Clear it away?", more):
            return 1
        found.clear()
    return 0


def cancel(session: Session, more: Sequence[str]) -> int:
    """Take away the lock of a run that is not at work any more; returns an exit code."""
    found = stale_processes.look(PROJECT_FOLDER, session.stack)
    if code := _keep_out(found):
        return code
    if found.elsewhere and not _may_clear(found, "Take the lock away?", more):
        return 1
    return session.run(["cancel"], more)


def _keep_out(found: stale_processes.Leftovers) -> int:
    """Say that another run is at work, if one is; an exit code."""
    if not found.running:
        return 0
    lock = found.running
    print(f"Another run is at work, process {lock.pid} of {lock.user} since {lock.since}.")
    print("Wait for it, or stop it with Ctrl-C where it runs.")
    return BUSY


def _may_clear(found: stale_processes.Leftovers, question: str, more: Sequence[str]) -> bool:
    """Ask whether what was found may go: a ``--yes`` knows nothing of a run on another machine."""
    if not found.elsewhere:
        return confirmed(found.sentences(), question, more)
    hosts = ", ".join(sorted({lock.host or "an unknown machine" for lock in found.elsewhere}))
    fix = (
        f"ARGS=--yes does not answer for a run on {hosts}. See that none is at work there, then "
        f"remove {' '.join(str(lock.path) for lock in found.elsewhere)}"
    )
    return confirmed(found.sentences(), question, [], fix)


def recover(session: Session, more: Sequence[str]) -> int:
    """Bring the stack to a state that ``up`` and ``down`` can go on from; returns an exit code."""
    if code := clear_leftovers(session, more):
        return code
    running_tasks.wait(session)
    try:
        deployment = session.deployment(secrets=True)
        resources = deployment.get("resources") or []
        aftermath = Aftermath.of(deployment)
        for sentence in aftermath.sentences():
            print(f"  - {sentence}")
        if aftermath.torn and not _mend_disks(session, aftermath.torn, more):
            return 1
        api = helm_records.api_of(resources)
        if code := _look_at_what_is_there(session, resources, api is not None, more):
            return code
        if not _take_up(session, api, more):
            return 1
    except (SessionError, SettingsError, orphaned_resources.OrphanSearchError, ApiError) as error:
        print(f"It could not be recovered: {error}")
        return 1
    last_up.settle(PROJECT_FOLDER, session.stack)
    print("Recovered: go on with `make up`, or `make down`.")
    return 0


def recover_if_needed(session: Session, more: Sequence[str]) -> int:
    """Recover where the last run did not come to its end, else say nothing; an exit code.

    ``more`` is meant for the ``up``: of it only the answer to questions is heard here.
    """
    last = last_up.load(PROJECT_FOLDER, session.stack)
    try:
        needed = bool(
            (last and not last.succeeded and not last.settled)
            or stale_processes.look(PROJECT_FOLDER, session.stack)
            or Aftermath.of(session.deployment(secrets=True))
        )
    except SessionError:
        needed = True  # the state cannot be read
    if not needed:
        return 0
    print("The last run did not come to its end: a look at what it left.", flush=True)
    return recover(session, answers(more))


def _mend_disks(session: Session, names: Sequence[str], more: Sequence[str]) -> bool:
    """Give machines their disks back in the state, after asking; tell whether it was done."""
    what = f"the state has lost a disk of {', '.join(names)}: put there what was asked for"
    if not confirmed([what], "Go on?", more):
        return False
    session.replace_state(state_repair.mended(session.exported()))
    return True


def _look_at_what_is_there(
    session: Session, resources: list[dict[str, Any]], alive: bool, more: Sequence[str]
) -> int:
    """Let the engine compare its state with what is there; it shows the differences, and asks."""
    inside = any(resource["type"].startswith("kubernetes:") for resource in resources)
    scope: list[str] = []
    if inside and not alive:
        print("The Kubernetes API does not answer: only Proxmox is looked at.")
        scope = [word for pattern in OUTSIDE for word in ("--target", pattern)]
    return session.run(["refresh", "--clear-pending-creates", *scope], more)


def _take_up(session: Session, api: ClusterApi | None, more: Sequence[str]) -> bool:
    """Clear the way for what would be made a second time; tell whether nothing is in it."""
    try:
        steps = json.loads(session.read(["preview", "--json"])).get("steps", [])
    except SessionError:
        # Asked for JSON, it says why on its output; so a person gets to see what it says else.
        print("What would be made cannot be told. A preview says why:", flush=True)
        session.run(["preview"])
        return False
    wanted = [step["newState"] for step in steps if step["op"] == "create"]
    in_the_way = [*_helm_records(wanted, api), *_pools(session, wanted)]
    if not in_the_way:
        return True
    print("The engine does not know of these, and they are in its way:")
    if not confirmed((f"remove {thing.sentence}" for thing in in_the_way), "Go on?", more):
        return False
    for thing in in_the_way:
        thing.remove()
    return True


def _helm_records(
    wanted: list[dict[str, Any]], api: ClusterApi | None
) -> Iterator[orphaned_resources.OrphanedResource]:
    if api is None:
        return
    for state in wanted:
        if state["type"] == RELEASE:
            inputs = state["inputs"]
            release = helm_records.Release(inputs["name"], inputs["namespace"])
            if helm_records.knows(api, release):
                sentence = f"Helm's record of {release}; what it installed stays"
                yield orphaned_resources.OrphanedResource(
                    sentence, functools.partial(helm_records.forget, api, release)
                )


def _pools(
    session: Session, wanted: list[dict[str, Any]]
) -> list[orphaned_resources.OrphanedResource]:
    """A pool that no machine is in yet: machines are made when it is in the state."""
    if not any(state["type"] == POOL for state in wanted):
        return []
    settings = stack_settings.settings(session)
    return orphaned_resources.pools(settings.proxmoxve, settings.stack_tag)


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
