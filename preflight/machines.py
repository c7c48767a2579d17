"""Looks before anything is made: is a VM id that we want taken already, and are our machines well?

The provider adopts a foreign guest that has one of our ids without a word, resizes it, and later
destroys it with its disks (facts/end-to-end.md 9). The engine's preview asks Proxmox nothing. So
we look ourselves, with one request for all guests, in every preview and every ``up``; a ``destroy``
never asks.

The same list tells which of our machines are gone; those that run are asked whether they wait for a
machine config. What is seen is handed on (``lifecycle/node.py``).

A guest is ours when it bears our tag, or when the engine has it in its state: for a guest without
the tag we leave a hook that refuses, and which the engine runs only for what is not in its state.
So we do for one of ours that is another machine than the one that wants its id: it would be adopted
under the new name, and destroyed under the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pulumi

from clients.errors import OperationError
from clients.proxmox.guests import Guest, GuestListError, list_guests, refusal, strangers
from clients.talos import talosctl
from lifecycle.node import LOST, MachineState
from lifecycle.operations import node_replacement
from lifecycle.restore import Restore, plan
from settings.models import Settings
from settings.node import Node, Role
from settings.running import RunningStack

NO_CONTROL_PLANE = (
    "No control plane is left. If this castle has run before, its etcd is lost, and with it all "
    "that Kubernetes knew. An `up` would begin an empty cluster: rather `make down` and `make up`, "
    "with cluster.restore_from where there is a snapshot."
)

IN_PREVIEWS_TOO = pulumi.ResourceHookOptions(on_dry_run=True)


def proxmox_options(settings: Settings) -> dict[str, Any]:
    """How the provider reaches Proxmox; the token stays a secret."""
    return {
        "endpoint": settings.proxmoxve.endpoint,
        "insecure": settings.proxmoxve.insecure,
        "api_token": pulumi.Output.secret(settings.proxmoxve.api_token.get_secret_value()),
    }


@dataclass(frozen=True, kw_only=True)
class PreflightHooks:
    """Hooks for what is about to be made; the engine runs them only for what it has not yet."""

    birth: pulumi.ResourceHookBinding | None = None
    """For what a castle begins with: refuses a new castle as long as one place is taken."""
    machines: Mapping[str, pulumi.ResourceHookBinding] = field(default_factory=dict)
    """By node name: refuses the machine whose VM id is taken."""
    restore: Restore | None = None
    """What a castle is restored from, if it is."""
    machine_states: dict[str, MachineState] = field(default_factory=dict)
    """By node name: the state of its machine. A hook sets it to ``created`` if the engine creates
    the machine in this run."""

    @property
    def cluster(self) -> dict[str, Any]:
        """What the cluster's arguments take of it."""
        return {"machine_states": self.machine_states, "restore": self.restore}


def check_machines(settings: Settings) -> PreflightHooks:
    """Look at what Proxmox has, and return hooks that refuse to touch what is not ours.

    Where Proxmox cannot be asked a preview warns and goes on, and an ``up`` ends: raises
    ``pulumi.RunError`` before anything is made. Raises ``SettingsError`` if a new cluster cannot be
    restored from its snapshot.
    """
    try:
        guests = list_guests(settings.proxmoxve, [node.vm_id for node in settings.machines])
    except GuestListError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}\nNothing has been touched.") from None
        pulumi.log.warn(f"{error}\nWhether VM ids are taken has not been checked.")
        return PreflightHooks(restore=plan(settings))
    _require_talosctl_to_leave(guests, settings)
    taken = strangers(guests, settings.machines, settings.stack_tag)
    _refuse_to_make_anew(taken, guests, settings)
    messages = {node.name: refusal(node, guest, settings.stack_tag) for node, guest in taken}
    born = any(settings.stack_tag in guest.tags for guest in guests)
    states = look_at_machines(guests, settings.machines)
    _refuse_upgrade_without_a_control_plane(settings, states)
    return PreflightHooks(
        birth=_refuse("birth", "\n".join(messages.values())) if messages and not born else None,
        machines=_of_machines(messages, settings if born else None, states),
        restore=plan(settings),
        machine_states=states,
    )


def _require_talosctl_to_leave(guests: Iterable[Guest], settings: Settings) -> None:
    """Refuse to begin where a machine of ours is no longer wanted and could not be let go.

    Its life is told to end only at the very end of an ``up``, and in a preview not at all.
    """
    wanted = {node.vm_id for node in settings.machines}
    leaving = [g.name for g in guests if settings.stack_tag in g.tags and g.vm_id not in wanted]
    if leaving:
        try:
            talosctl.require(settings.cluster.talos)
        except OperationError as error:
            raise pulumi.RunError(f"{', '.join(leaving)}: {error}") from None


def _refuse_upgrade_without_a_control_plane(
    settings: Settings, states: Mapping[str, MachineState]
) -> None:
    """Refuse another version of Talos or Kubernetes while a control plane is lost.

    The lost one gets its config after the upgrade of the others, which etcd does not allow without
    it: no run would come to its end.
    """
    running = settings.running
    lost = [
        node.name
        for node in settings.control_planes
        if states.get(node.name) in LOST and running.machine_has_come_up(node.name)
    ]
    talos = {running.talos} if running.talos else set()
    versions = {
        "cluster.talos": (talos, settings.cluster.talos),
        "cluster.kubernetes": (running.kubernetes, settings.cluster.kubernetes),
    }
    # An upgrade that was interrupted has two versions, and cannot be taken back: it goes on.
    back = [
        f"{setting} to {' or '.join(sorted(old))}"
        for setting, (old, wanted) in versions.items()
        if old and wanted not in old
    ]
    if lost and back:
        raise pulumi.RunError(
            f"{', '.join(lost)} is lost, and an upgrade needs every control plane. Set "
            f"{' and '.join(back)} and run `make up`, which brings the control plane back. Then "
            "upgrade. Nothing has been touched."
        )


def _refuse_to_make_anew(
    taken: Iterable[tuple[Node, Guest]], guests: Iterable[Guest], settings: Settings
) -> None:
    """Refuse where a machine that lives is to get an id that is taken.

    Its hook would come too late without a preview: what is made anew is deleted first.
    """
    living = {guest.name for guest in guests if settings.stack_tag in guest.tags}
    refusals = [
        refusal(node, guest, settings.stack_tag) for node, guest in taken if node.name in living
    ]
    if refusals:
        raise pulumi.RunError("\n".join(refusals))


def look_at_machines(guests: Iterable[Guest], nodes: Sequence[Node]) -> dict[str, MachineState]:
    """By node: what is not as it should be with its machine; on the first day all are ``gone``.

    All are asked at the same time. One that is silent costs two seconds, and one that was switched
    on a moment ago is waited for.
    """
    by_id = {guest.vm_id: guest for guest in guests}

    def seen(node: Node) -> MachineState:
        guest = by_id.get(node.vm_id)
        if guest is None:
            return "gone"
        if not guest.is_running:
            return "off"
        left = node_replacement.BOOT_LIMIT - guest.uptime_s
        return "blank" if node_replacement.wait_for_answer(str(node.address), left) else ""

    with ThreadPoolExecutor(max_workers=32) as pool:
        found = list(pool.map(seen, nodes))
    for node, word in zip(nodes, found, strict=True):
        if word == "blank":
            pulumi.log.warn(
                f"{node.name} ({node.address}) has no machine config, and is given it (again)."
            )
    if "" in found and all(
        w for n, w in zip(nodes, found, strict=True) if n.role is Role.CONTROL_PLANE
    ):
        pulumi.log.warn(NO_CONTROL_PLANE)
    return dict(zip((node.name for node in nodes), found, strict=True))


def _of_machines(
    messages: Mapping[str, str], living: Settings | None, states: dict[str, MachineState]
) -> dict[str, pulumi.ResourceHookBinding]:
    """By node name: the hooks of its machine; those of a new castle ask only for its place."""
    hooks = {name: _refuse(name, message) for name, message in messages.items()}
    if living:
        created = _remember_creation(states, living.running)
        for node in living.machines:
            binding = hooks.setdefault(node.name, pulumi.ResourceHookBinding())
            binding.after_create = [created]
    return hooks


def _remember_creation(
    states: dict[str, MachineState], running: RunningStack
) -> pulumi.ResourceHook:
    """A hook that notes that the engine has created a machine in this run.

    A machine that is replaced has the VM id of the one before: nothing else tells them apart. One
    that the state does not have, and that answered with its machine config before this run, is not
    created but adopted by the provider: it is what it was.
    """

    def remember(args: pulumi.ResourceHookArgs) -> None:
        name = (args.new_inputs or {})["name"]
        if states.get(name) or name in running.machines:
            states[name] = "created"

    return pulumi.ResourceHook("machine-is-created", remember)


def _refuse(name: str, message: str) -> pulumi.ResourceHookBinding:
    def refuse(_: pulumi.ResourceHookArgs) -> None:
        """Refuse what is about to be made."""
        raise RuntimeError(message)

    hook = pulumi.ResourceHook(f"vm-id-is-free-{name}", refuse, IN_PREVIEWS_TOO)
    return pulumi.ResourceHookBinding(before_create=[hook])
