"""Compares two stack files: rehearses both, and lists what an ``up`` changes.

Dynamic resources are compared by their own ``diff``, so the comparison refuses what a preview
refuses. All other resources are compared by their inputs. The comparison does not know manual
changes and unfinished runs of ``up``: only the Pulumi state has them.
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
from lifecycle.provider import DYNAMIC, provider_of
from rehearsal import effects
from rehearsal.record import Refusal, Resource, needs
from rehearsal.run import Rehearsal, offline, rehearse
from rehearsal.values import reveal
from settings import resource_types
from settings.encrypted import file_of
from settings.problems import Problem, SettingsError
from settings.project import PROJECT_FOLDER

Operation = Literal["create", "update", "replace", "delete"]

REPLACING_INPUTS = {
    resource_types.FILE: ("url", "fileName", "nodeName", "datastoreId"),
    resource_types.MACHINE: ("vmId",),
    resource_types.SCHEMATIC: ("schematic",),
    resource_types.CLAIM: ("spec",),
    resource_types.MACHINE_POOL: ("poolId",),
}
"""By resource type: inputs whose change replaces the resource (bpg/terraform-provider-proxmox
v0.111.1, siderolabs/terraform-provider-talos v0.11.0)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation of an ``up`` on one resource."""

    operation: Operation
    resource: Resource
    """The resource in the new stack; for ``delete``, in the old stack."""
    inputs: tuple[str, ...] = ()
    """Names of the inputs that change."""
    effect: effects.Effect
    stage: int
    """Position in the order, from 1: steps of one stage may run at the same time."""


@dataclass(kw_only=True)
class Change:
    """What an ``up`` does to change a stack from one stack file to another."""

    old: Rehearsal
    new: Rehearsal
    steps: list[Step] = field(default_factory=list)
    """In the order of their stages."""
    problems: list[Refusal] = field(default_factory=list)
    """What a preview refuses."""
    notes: list[str] = field(default_factory=list)
    """What a preview prints about the changes."""


def rehearse_change(stack: str, source: Path, folder: Path = PROJECT_FOLDER) -> Change:
    """Rehearse the old stack file ``source`` and the stack's file in ``folder``, and compare both.

    The second rehearsal runs with the Pulumi state that the old file leads to. Raises
    ``SettingsError`` if a file is wrong, or if a stack with the old file cannot change to the new
    file.
    """
    if not source.is_file():
        problem = Problem("FROM", str(source), "is not a file", "name an older stack file")
        raise SettingsError([problem], stack)
    with tempfile.TemporaryDirectory() as name:
        shutil.copyfile(source, Path(name) / f"Pulumi.{stack}.yaml")
        encrypted = file_of(stack, folder)
        if encrypted.exists():
            shutil.copyfile(encrypted, file_of(stack, Path(name)))
        try:
            old = rehearse(stack, Path(name))
        except SettingsError as error:
            # The heading of the message names the new file, so each line names the old file.
            problems = [replace(it, path=f"{source}: {it.path}") for it in error.problems]
            raise SettingsError(problems, stack) from None
    return compare(old, rehearse(stack, folder, state=old.recording.state()))


def compare(old: Rehearsal, new: Rehearsal) -> Change:
    """Return what an ``up`` changes between two rehearsals of one stack."""
    change = Change(old=old, new=new, problems=list(new.problems))
    before, after = old.recording.by_urn(), new.recording.by_urn()
    found: dict[str, tuple[Operation, tuple[str, ...]]] = {}
    for urn, resource in after.items():
        if not resource.is_managed:
            continue
        if urn not in before:
            found[urn] = "create", ()
        elif operation := _compare_resources(before[urn], resource, found, change):
            found[urn] = operation
    change.problems += _vm_id_conflicts(before, after)
    change.steps = _forward_steps(change, found)
    change.steps += _deletions(change)
    return change


def _compare_resources(
    old: Resource,
    new: Resource,
    found: Mapping[str, tuple[Operation, tuple[str, ...]]],
    change: Change,
) -> tuple[Operation, tuple[str, ...]] | None:
    """Return the operation and the changed inputs of a resource that is in both stacks, if any."""
    inputs = _changed_inputs(old, new)
    if any(found.get(urn, ("",))[0] == "replace" for urn in new.replace_with):
        return "replace", inputs
    if new.type.startswith(DYNAMIC):
        return _diff_dynamic(old, new, inputs, change)
    if not inputs:
        return None
    replacing = {*REPLACING_INPUTS.get(new.type, ()), *new.replace_on_changes}
    return ("replace" if replacing & set(inputs) or _is_renamed(old, new) else "update"), inputs


def _diff_dynamic(
    old: Resource, new: Resource, inputs: tuple[str, ...], change: Change
) -> tuple[Operation, tuple[str, ...]] | None:
    """Call the ``diff`` of a dynamic resource.

    Adds a refusal to the problems of the change, and printed lines to its notes.
    """
    printed = io.StringIO()
    # The comparison does not need talosctl: only a preview checks that it is on PATH.
    with offline(), contextlib.redirect_stdout(printed):
        try:
            olds, news = _with_generations(reveal(dict(old.inputs)), reveal(dict(new.inputs)))
            diff = provider_of(new.type).compare(olds, news, needs_tools=False)
        except OperationError as refusal:
            text = str(refusal).removesuffix(" Nothing has been touched.")
            # The snapshot and each node refuse the same change: report it once.
            if not any(text in it.message for it in change.problems):
                change.problems.append(Refusal(new.name, text))
            return None
    change.notes += printed.getvalue().splitlines()
    if not diff.changes:
        return None
    return ("replace" if diff.replaces else "update"), inputs


def _with_generations(
    olds: dict[str, Any], news: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the inputs of a node with the generation counter that its ``check`` would set.

    ``check`` asks Proxmox whether the VM was replaced. Here only a new VM id counts as a new VM.
    """
    if "machine_state" not in news:
        return olds, news
    is_new = effects.is_another_vm(olds, news)
    state = "created" if is_new else ""
    return olds | {"generation": 1}, news | {"generation": 1 + is_new, "machine_state": state}


def _changed_inputs(old: Resource, new: Resource) -> tuple[str, ...]:
    """Return the names of the inputs that differ, without those in ``ignore_changes``."""
    left, right = (_without(reveal(dict(it.inputs)), new.ignore_changes) for it in (old, new))
    # ``has_come_up`` always differs between the first deployment and the next one.
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


def _is_renamed(old: Resource, new: Resource) -> bool:
    """Return whether a Kubernetes object or a Helm release has another name or namespace."""
    return new.in_kubernetes and old.id != new.id


def _vm_id_conflicts(
    before: Mapping[str, Resource], after: Mapping[str, Resource]
) -> Iterator[Refusal]:
    """Refuse a VM that gets the VM id of another VM of the stack.

    bpg/terraform-provider-proxmox adopts an existing VM that has the VM id.
    """
    owners = {it.plain("vmId"): it for it in before.values() if it.type == resource_types.MACHINE}
    for vm in after.values():
        other = owners.get(vm.plain("vmId")) if vm.type == resource_types.MACHINE else None
        if other is not None and other.plain("name") != vm.plain("name"):
            text = f"VM id {vm.plain('vmId')} belongs to {other.plain('name')} of this stack"
            yield Refusal(vm.name, text)


def _forward_steps(
    change: Change, found: Mapping[str, tuple[Operation, tuple[str, ...]]]
) -> list[Step]:
    """Return creations, updates and replacements: each one a stage after all its dependencies."""
    stages: dict[str, int] = {}
    before, steps = change.old.recording.by_urn(), []
    for resource in change.new.recording.resources:
        stage = max((stages[urn] for urn in needs(resource) if urn in stages), default=0)
        if resource.urn in found:
            operation, inputs = found[resource.urn]
            stage += 1
            steps.append(
                Step(
                    operation=operation,
                    resource=resource,
                    inputs=inputs,
                    effect=effects.of(operation, before.get(resource.urn), resource),
                    stage=stage,
                )
            )
        stages[resource.urn] = stage
    return sorted(steps, key=lambda step: step.stage)


def _deletions(change: Change) -> list[Step]:
    """Return the deletions: after all other steps, and each one after its dependents."""
    after = change.new.recording.by_urn()
    gone = [it for it in change.old.recording.resources if it.is_managed and it.urn not in after]
    names = {it.urn: it.name for it in gone}
    stages: dict[str, int] = {}
    last = max((step.stage for step in change.steps), default=0)
    steps = []
    for resource in reversed(gone):
        dependents = [stages[it.urn] for it in gone if resource.urn in needs(it)]
        stage = max([last, *dependents]) + 1
        effect = effects.of("delete", resource, resource)
        if resource.deleted_with in names:
            message = f"is deleted together with {names[resource.deleted_with]}"
            effect = effects.Effect(message=message)
        steps.append(Step(operation="delete", resource=resource, effect=effect, stage=stage))
        stages[resource.urn] = stage
    return sorted(steps, key=lambda step: step.stage)
