"""``make recover``: clean up after a killed or failed run. ``up`` and ``down`` do it first.

Each step prints what it found and what it will do, and asks:

1. On this computer: end provider processes without an engine; remove the lock and half-written
   files. Then wait for running Proxmox tasks.
2. An empty state, if the backup store has a copy: import the copy (``fetch_state.py``).
3. VMs whose VM id belongs to somebody else now: remove them from the state (``vms_in_state.py``).
4. Disks of VMs that are missing in the state: add them again (``state_repair.py``).
5. Pending creates, and VMs that differ from the state: run ``pulumi refresh``.
6. A pool or a Helm release that was created but is not in the state: remove the pool, which is
   empty, and Helm's record, so that the next ``up`` installs over the existing objects.

Nothing else is needed, because the next ``up`` adopts VMs and images of the stack, Kubernetes
objects and a bootstrapped etcd.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backup.store import BackupError
from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import PulumiError, Session
from commands import (
    fetch_state,
    helm_records,
    last_up,
    orphaned_resources,
    running_tasks,
    stale_processes,
    state_repair,
    vms_in_state,
)
from commands.ask import answer_flags, confirmed
from settings.problems import SettingsError
from settings.resource_types import MACHINE, MACHINE_POOL, RELEASE

PROXMOX_TARGETS = ("**proxmoxve**",)
"""Targets of a refresh while the Kubernetes API does not answer: all Proxmox resources."""
BUSY = 3
"""Exit code: another run of this stack is active."""


@dataclass(frozen=True)
class StateDamage:
    """Damage in the Pulumi state after a killed or failed run. False if there is none."""

    pending: tuple[str, ...]
    """Names of resources whose creation had started, with unknown result."""
    half_created: tuple[str, ...]
    """Names of VMs whose creation failed after the VM existed; a disk may have the wrong size."""
    missing_disk: tuple[str, ...]
    """Names of VMs of which a disk is missing in the state."""

    @classmethod
    def of(cls, deployment: dict[str, Any]) -> StateDamage:
        """Find the damage in an exported state."""
        return cls(
            tuple(_name(o["resource"]["urn"]) for o in deployment.get("pending_operations") or ()),
            tuple(
                _name(resource["urn"])
                for resource in deployment.get("resources") or ()
                if resource.get("initErrors") and resource["type"] == MACHINE
            ),
            state_repair.vms_with_missing_disk(deployment),
        )

    def __bool__(self) -> bool:
        return bool(self.pending or self.half_created or self.missing_disk)

    def sentences(self) -> Iterator[str]:
        """Describe what a refresh will check, one sentence for each kind of damage."""
        if self.pending:
            yield f"outcome unknown for {', '.join(self.pending)}: will refresh"
        if self.half_created:
            yield f"only partly created: {', '.join(self.half_created)}: will refresh"


def clear_killed_runs(session: Session, cli_args: Sequence[str]) -> int:
    """Remove processes, locks and files of killed runs on this computer; returns an exit code.

    Asks first; a yes flag in ``cli_args`` answers.
    """
    stale_runs = stale_processes.find_stale_runs(session.project, session.stack)
    if code := _refuse_if_active(stale_runs):
        return code
    if stale_runs:
        print("An earlier run was killed. Found on this computer:")
        if not _confirm_clearing(stale_runs, "Clean up?", cli_args):
            return 1
        stale_runs.clear()
    return 0


def cancel(session: Session, cli_args: Sequence[str]) -> int:
    """Remove the lock of a run that has ended; returns an exit code."""
    stale_runs = stale_processes.find_stale_runs(session.project, session.stack)
    if code := _refuse_if_active(stale_runs):
        return code
    if stale_runs.foreign_locks and not _confirm_clearing(stale_runs, "Remove the lock?", cli_args):
        return 1
    return session.run(["cancel"], cli_args)


def _refuse_if_active(stale_runs: stale_processes.StaleRuns) -> int:
    """If another run of this stack is active, print that and return ``BUSY``, otherwise 0."""
    lock = stale_runs.active_lock
    if lock is None:
        return 0
    print(f"Another run is active: process {lock.pid} of {lock.user}, since {lock.since}.")
    print("Wait until it ends, or stop it with Ctrl-C in its terminal.")
    return BUSY


def _confirm_clearing(
    stale_runs: stale_processes.StaleRuns, question: str, cli_args: Sequence[str]
) -> bool:
    """Ask whether to clean up. ``--yes`` does not count if another computer holds a lock.

    Whether the run on that computer is still active cannot be checked from here.
    """
    if not stale_runs.foreign_locks:
        return confirmed(stale_runs.sentences(), question, cli_args)
    hosts = ", ".join(
        sorted({lock.host or "an unknown computer" for lock in stale_runs.foreign_locks})
    )
    fix = (
        f"ARGS=--yes does not answer for a run on {hosts}. Check that no run is active there, then "
        f"remove {' '.join(str(lock.path) for lock in stale_runs.foreign_locks)}"
    )
    return confirmed(stale_runs.sentences(), question, [], fix)


def recover(session: Session, cli_args: Sequence[str]) -> int:
    """Clean up after a killed or failed run; returns an exit code."""
    if code := clear_killed_runs(session, cli_args):
        return code
    running_tasks.wait(session)
    try:
        if not fetch_state.fetch_if_lost(session, cli_args):
            return 1
        if not vms_in_state.release(session, cli_args, for_destroy=False):
            return 1
        deployment = session.deployment(secrets=True)
        resources = deployment.get("resources") or []
        damage = StateDamage.of(deployment)
        for sentence in damage.sentences():
            print(f"  - {sentence}")
        if damage.missing_disk and not _restore_disks(session, damage.missing_disk, cli_args):
            return 1
        api = helm_records.api_of(resources)
        if code := _refresh(session, resources, api is not None, cli_args):
            return code
        if not _remove_blockers(session, api, cli_args):
            return 1
    except (PulumiError, SettingsError, OperationError, BackupError) as error:
        print(f"The recovery failed: {error}")
        return 1
    last_up.mark_settled(session.project, session.stack)
    print("Recovered. Continue with `make up` or `make down`.")
    return 0


def recover_if_needed(session: Session, cli_args: Sequence[str]) -> int:
    """Recover if the last run was killed or failed, otherwise print nothing; returns an exit code.

    ``cli_args`` belong to ``up``, so only its flags that answer questions are used here.
    """
    last = last_up.load(session.project, session.stack)
    try:
        needed = bool(
            (last and not last.succeeded and not last.settled)
            or stale_processes.find_stale_runs(session.project, session.stack)
            or StateDamage.of(session.deployment(secrets=True))
        )
    except PulumiError:
        needed = True  # the state cannot be read
    if not needed:
        return 0
    print("The last run did not finish. Recovering first.", flush=True)
    return recover(session, answer_flags(cli_args))


def _restore_disks(session: Session, names: Sequence[str], cli_args: Sequence[str]) -> bool:
    """Ask, and add missing disks of VMs to the state again; tell whether it was done."""
    effect = (
        f"the Pulumi state lacks a disk of {', '.join(names)}: add the disk to the state again, as "
        "the stack file configured it (the disk itself is not changed)"
    )
    if not confirmed([effect], "Continue?", cli_args):
        return False
    session.replace_state(state_repair.restore_disks(session.exported()))
    return True


def _refresh(
    session: Session, resources: list[dict[str, Any]], api_answers: bool, cli_args: Sequence[str]
) -> int:
    """Run ``pulumi refresh``, which shows the differences and asks; returns its exit code."""
    has_cluster = any(resource["type"].startswith("kubernetes:") for resource in resources)
    targets: list[str] = []
    if has_cluster and not api_answers:
        print("The Kubernetes API does not answer: refreshing only Proxmox resources.")
        targets = [arg for pattern in PROXMOX_TARGETS for arg in ("--target", pattern)]
    return session.run(["refresh", "--clear-pending-creates", *targets], cli_args)


def _remove_blockers(session: Session, api: ClusterApi | None, cli_args: Sequence[str]) -> bool:
    """Remove pools and Helm records that would make the next ``up`` fail with "already exists".

    Asks first. Returns False if the user refuses or the preview fails.
    """
    try:
        steps = json.loads(session.read(["preview", "--json"])).get("steps", [])
    except PulumiError:
        # With --json the CLI writes its errors to standard output, which `read` discards.
        print("The next changes cannot be determined, because the preview fails:", flush=True)
        session.run(["preview"])
        return False
    creates = [step["newState"] for step in steps if step["op"] == "create"]
    blockers = [*_blocking_helm_records(creates, api), *_blocking_pools(session, creates)]
    if not blockers:
        return True
    print("These exist but are not in the Pulumi state, so the next `make up` would fail:")
    if not confirmed((f"remove {it.sentence}" for it in blockers), "Continue?", cli_args):
        return False
    for blocker in blockers:
        blocker.remove()
    return True


def _blocking_helm_records(
    creates: list[dict[str, Any]], api: ClusterApi | None
) -> Iterator[orphaned_resources.OrphanedResource]:
    if api is None:
        return
    for state in creates:
        if state["type"] == RELEASE:
            inputs = state["inputs"]
            release = helm_records.Release(inputs["name"], inputs["namespace"])
            if helm_records.knows(api, release):
                sentence = (
                    f"Helm's record of the release {release} (the objects that Helm installed are "
                    "not deleted)"
                )
                yield orphaned_resources.OrphanedResource(
                    sentence, functools.partial(helm_records.forget, api, release)
                )


def _blocking_pools(
    session: Session, creates: list[dict[str, Any]]
) -> list[orphaned_resources.OrphanedResource]:
    """Find the pool if Pulumi would create it; it is empty, as VMs are created after the pool."""
    if not any(state["type"] == MACHINE_POOL for state in creates):
        return []
    settings = stack_settings.settings(session)
    return orphaned_resources.find_pools(settings.proxmoxve, settings.stack_tag)


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
