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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_proxmoxve as proxmoxve

from clients.errors import OperationError
from clients.proxmox.guests import Guest, GuestListError, refusal, strangers
from clients.talos import talosctl
from components.talos.args import ClusterFindings
from lifecycle.node import LOST, MachineState
from preflight.sources import CURRENT
from settings.models import Settings
from settings.node import Node
from settings.running import RunningStack


def proxmox_credentials(settings: Settings) -> proxmoxve.ProviderArgs:
    """Return the address and the token (secret) for the Proxmox provider."""
    return proxmoxve.ProviderArgs(
        endpoint=settings.proxmoxve.endpoint,
        insecure=settings.proxmoxve.insecure,
        api_token=pulumi.Output.secret(settings.proxmoxve.api_token.get_secret_value()),
    )


IN_PREVIEWS_TOO = pulumi.ResourceHookOptions(on_dry_run=True)


@dataclass(frozen=True, kw_only=True)
class MachineChecks:
    """What the checks found, and hooks that refuse. The engine runs a hook only for a resource that
    it is about to create."""

    new_cluster: pulumi.ResourceHookBinding | None = None
    """For the first resource of a new cluster: refuses it while any of its VM ids is taken."""
    hooks: Mapping[str, pulumi.ResourceHookBinding] = field(default_factory=dict)
    """By node name: refuses the machine whose VM id is taken."""
    findings: ClusterFindings = field(default_factory=ClusterFindings)


def check_machines(settings: Settings) -> MachineChecks:
    """Look at what Proxmox has, and return hooks that refuse to touch what is not ours.

    Where Proxmox cannot be asked a preview warns and goes on, and an ``up`` ends: raises
    ``pulumi.RunError`` before anything is made. Raises ``SettingsError`` if a new cluster cannot be
    restored from its snapshot.
    """
    sources = CURRENT.get()
    try:
        guests = sources.list_guests(settings.proxmoxve, [node.vm_id for node in settings.machines])
    except GuestListError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}\nNothing has been touched.") from None
        pulumi.log.warn(f"{error}\nWhether VM ids are taken has not been checked.")
        return MachineChecks(findings=ClusterFindings(restore=sources.plan_restore(settings)))
    _require_talosctl_to_leave(guests, settings)
    taken = strangers(guests, settings.machines, settings.stack_tag)
    _refuse_to_make_anew(taken, guests, settings)
    messages = {node.name: refusal(node, guest, settings.stack_tag) for node, guest in taken}
    born = any(settings.stack_tag in guest.tags for guest in guests)
    states = sources.look_at_machines(guests, settings.machines)
    _refuse_upgrade_without_a_control_plane(settings, states)
    return MachineChecks(
        new_cluster=_refuse("new-cluster", "\n".join(messages.values()))
        if messages and not born
        else None,
        hooks=_of_machines(messages, settings if born else None, states),
        findings=ClusterFindings(restore=sources.plan_restore(settings), machine_states=states),
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
