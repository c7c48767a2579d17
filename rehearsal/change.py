"""What an ``up`` would change between two stack files: two rehearsals, and how their graphs differ.

Dynamic resources are asked by their own ``diff``, so that what a preview refuses is refused here
too; of all others the inputs are compared. Leaves out what only the engine's state knows: what was
changed by hand, and what an ``up`` that stopped has done already.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clients.errors import OperationError
from lifecycle.bootstrap import BootstrapProvider
from lifecycle.deployment_record import DeploymentRecordProvider
from lifecycle.etcd_snapshot import EtcdSnapshotProvider
from lifecycle.flux_ready import FluxReadyProvider
from lifecycle.flux_uninstall import FluxUninstallProvider
from lifecycle.kubernetes_version import KubernetesVersionProvider
from lifecycle.longhorn_storage import LonghornStorageProvider
from lifecycle.node import NodeLifecycleProvider
from lifecycle.provider import Provider
from lifecycle.readiness import ClusterReadinessProvider
from lifecycle.retained_disk import RetainedDiskProvider
from rehearsal import effects
from rehearsal.record import Refusal, Resource, needs
from rehearsal.run import Rehearsal, offline, rehearse
from rehearsal.values import reveal
from settings import resource_types
from settings.encrypted import file_of
from settings.problems import Problem, SettingsError
from settings.project import PROJECT_FOLDER

What = Literal["create", "update", "replace", "delete"]

DYNAMIC: dict[str, Provider] = {
    resource_types.BOOTSTRAP: BootstrapProvider(),
    resource_types.SNAPSHOT: EtcdSnapshotProvider(),
    resource_types.FLUX_READY: FluxReadyProvider(),
    resource_types.UNINSTALL: FluxUninstallProvider(),
    effects.KEPT_DISK: RetainedDiskProvider(),
    resource_types.KUBERNETES_VERSION: KubernetesVersionProvider(),
    resource_types.NODE: NodeLifecycleProvider(),
    resource_types.READY: ClusterReadinessProvider(),
    resource_types.RECORD: DeploymentRecordProvider(),
    resource_types.STORAGE: LonghornStorageProvider(),
}
"""Who tells whether a dynamic resource changes."""

FORCED = {
    resource_types.FILE: ("url", "fileName", "nodeName", "datastoreId"),
    resource_types.MACHINE: ("vmId",),
    resource_types.SCHEMATIC: ("schematic",),
    resource_types.CLAIM: ("spec",),
    "proxmoxve:index/poolLegacy:PoolLegacy": ("poolId",),
}
"""Inputs that cannot change in place (facts/providers.md B, facts/end-to-end.md 8)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that an ``up`` would do."""

    what: What
    resource: Resource
    """As it will be; one that goes, as it was."""
    inputs: tuple[str, ...] = ()
    """The inputs that change."""
    effect: effects.Effect
    """What it means, and for how long."""
    start: float = 0.0
    """Nominal seconds from the beginning of the ``up``."""

    @property
    def end(self) -> float:
        """When it is done."""
        return self.start + self.effect.seconds


@dataclass(kw_only=True)
class Change:
    """All that an ``up`` would do to get from one stack file to another."""

    old: Rehearsal
    new: Rehearsal
    steps: list[Step] = field(default_factory=list)
    """In the order in which they begin."""
    problems: list[Refusal] = field(default_factory=list)
    """What would be refused."""
    notes: list[str] = field(default_factory=list)
    """What the preview would print about the changes."""

    @property
    def seconds(self) -> float:
        """How long it takes, nominally."""
        return max((step.end for step in self.steps), default=0.0)


def rehearse_change(stack: str, source: Path, folder: Path = PROJECT_FOLDER) -> Change:
    """Rehearse a stack as ``source`` describes it and as its file in ``folder`` does, and compare.

    The program rehearses the new file on the state that the old file leads to. Raises
    ``SettingsError`` if one of them is wrong, or if the old stack cannot become the new one.
    """
    if not source.is_file():
        problem = Problem("FROM", str(source), "is not a file", "name the stack file of before")
        raise SettingsError([problem], stack)
    with tempfile.TemporaryDirectory() as name:
        shutil.copyfile(source, Path(name) / f"Pulumi.{stack}.yaml")
        hidden = file_of(stack, folder)
        if hidden.exists():
            shutil.copyfile(hidden, file_of(stack, Path(name)))
        try:
            old = rehearse(stack, Path(name))
        except SettingsError as error:
            # The message is headed by the stack's own file: each line says which one it means.
            problems = [replace(it, path=f"{source}: {it.path}") for it in error.problems]
            raise SettingsError(problems, stack) from None
    return compare(old, rehearse(stack, folder, state=old.recording.state()))


def compare(old: Rehearsal, new: Rehearsal) -> Change:
    """What lies between two rehearsals of one stack."""
    change = Change(old=old, new=new, problems=list(new.problems))
    before, after = old.recording.by_urn(), new.recording.by_urn()
    found: dict[str, tuple[What, tuple[str, ...]]] = {}
    for urn, resource in after.items():
        if not resource.custom or resource.type.startswith("pulumi:providers:"):
            continue
        if urn not in before:
            found[urn] = "create", ()
        elif told := _told(before[urn], resource, found, change):
            found[urn] = told
    change.problems += _taking_over(before, after)
    change.steps = _forward(change, found)
    change.steps += _backward(change)
    return change


def _told(
    old: Resource,
    new: Resource,
    found: Mapping[str, tuple[What, tuple[str, ...]]],
    change: Change,
) -> tuple[What, tuple[str, ...]] | None:
    """How a resource of both castles changes, if it does."""
    inputs = _differing(old, new)
    if any(found.get(urn, ("",))[0] == "replace" for urn in new.replace_with):
        return "replace", inputs
    if new.type in DYNAMIC:
        return _asked(old, new, inputs, change)
    if not inputs:
        return None
    forced = {*FORCED.get(new.type, ()), *new.replace_on_changes}
    return ("replace" if forced & set(inputs) or _renamed(old, new) else "update"), inputs


def _asked(
    old: Resource, new: Resource, inputs: tuple[str, ...], change: Change
) -> tuple[What, tuple[str, ...]] | None:
    """What a dynamic resource's own diff says; what it refuses is a problem, once.

    What it prints is a note: a preview shows it among its diagnostics.
    """
    problems, printed = change.problems, io.StringIO()
    # No tool is needed here: whether talosctl is on PATH is the preview's to say.
    with offline(), contextlib.redirect_stdout(printed):
        try:
            olds, news = _with_generations(reveal(dict(old.inputs)), reveal(dict(new.inputs)))
            said = DYNAMIC[new.type].compare(olds, news, needs_tools=False)
        except OperationError as refusal:
            text = str(refusal).removesuffix(" Nothing has been touched.")
            # A node says again what the snapshot before it has said for all.
            if not any(text in it.message for it in problems):
                problems.append(Refusal(new.name, text))
            return None
    change.notes += printed.getvalue().splitlines()
    if not said.changes:
        return None
    return ("replace" if said.replaces else "update"), inputs


def _with_generations(
    olds: dict[str, Any], news: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs of a node with the generation that its ``check`` would count.

    It asks Proxmox what is there, and a rehearsal asks nobody: only another VM counts here.
    """
    if "machine_state" not in news:
        return olds, news
    replaced = effects.is_another_vm(olds, news)
    state = "created" if replaced else ""
    return olds | {"generation": 1}, news | {"generation": 1 + replaced, "machine_state": state}


def _differing(old: Resource, new: Resource) -> tuple[str, ...]:
    """Names of the inputs that differ, without those that the engine is told to ignore."""
    left, right = (_without(reveal(dict(it.inputs)), new.ignore_changes) for it in (old, new))
    # ``has_come_up`` is not a wish: it differs between every first deployment and the next.
    names = sorted((left.keys() | right.keys()) - {"__provider", "has_come_up"})
    return tuple(name for name in names if left.get(name) != right.get(name))


def _without(inputs: dict[str, Any], ignored: Sequence[str]) -> dict[str, Any]:
    for path in ignored:
        *above, last = re.findall(r"[^.\[\]]+", path)
        holder: Any = inputs
        for key in above:
            if isinstance(holder, list):
                holder = holder[int(key)] if int(key) < len(holder) else None
            else:
                holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder.pop(last, None)
    return inputs


def _renamed(old: Resource, new: Resource) -> bool:
    """Whether a Kubernetes object or a release is another one."""
    return new.in_kubernetes and old.id != new.id


def _taking_over(
    before: Mapping[str, Resource], after: Mapping[str, Resource]
) -> Iterator[Refusal]:
    """A machine that gets the VM id of another one is refused (``survey.py``)."""
    had = {it.plain("vmId"): it for it in before.values() if it.type == resource_types.MACHINE}
    for machine in after.values():
        other = had.get(machine.plain("vmId")) if machine.type == resource_types.MACHINE else None
        if other is not None and other.plain("name") != machine.plain("name"):
            # bpg/terraform-provider-proxmox adopts an existing VM that has the VM id.
            text = f"VM id {machine.plain('vmId')} belongs to {other.plain('name')} of this stack"
            yield Refusal(machine.name, text)


def _forward(change: Change, found: Mapping[str, tuple[What, tuple[str, ...]]]) -> list[Step]:
    """What is made and changed, each after what it needs, as the engine would take it."""
    ends: dict[str, float] = {}
    before, steps = change.old.recording.by_urn(), []
    for resource in change.new.recording.resources:
        start = max((ends[urn] for urn in needs(resource) if urn in ends), default=0.0)
        ends[resource.urn] = start
        if told := found.get(resource.urn):
            what, inputs = told
            effect = effects.of(what, before.get(resource.urn), resource, change.new.recording)
            step = Step(what=what, resource=resource, inputs=inputs, effect=effect, start=start)
            ends[resource.urn] = step.end
            steps.append(step)
    return sorted(steps, key=lambda step: step.start)


def _backward(change: Change) -> list[Step]:
    """What goes: after all else, and each after what needed it."""
    after = change.new.recording.by_urn()
    gone = [
        it
        for it in change.old.recording.resources
        if it.custom and it.urn not in after and not it.type.startswith("pulumi:providers:")
    ]
    going = {it.urn for it in gone}
    ends: dict[str, float] = {}
    begin, steps = change.seconds, []
    for resource in reversed(gone):
        waits = [ends[it.urn] for it in gone if resource.urn in needs(it) and it.urn in ends]
        effect = effects.of("delete", resource, resource, change.old.recording)
        if resource.deleted_with in going:
            effect = effects.Effect(says="goes along with what carries it")
        step = Step(what="delete", resource=resource, effect=effect, start=max([begin, *waits]))
        ends[resource.urn] = step.end
        steps.append(step)
    return sorted(steps, key=lambda step: step.start)
