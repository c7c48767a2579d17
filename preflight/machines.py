"""Checks VM ids and the state of the VMs on Proxmox, in every preview and every ``up``.

If a VM id is already taken, the Proxmox provider silently adopts that guest: it resizes the guest,
and later deletes it with its disks. (The provider retries the creation, and takes the second
"already exists" for success: bpg/proxmox proxmox/retry/retry.go ``IsTransientAPIError``.) A preview
of Pulumi does not contact Proxmox. So this module lists all guests with one request. A ``destroy``
does not run the program, so it checks nothing.

A guest belongs to the stack if it has the stack's tag or is in the Pulumi state. If the VM id of a
planned VM belongs to another guest, or to another VM of the stack, the module returns a hook that
refuses to create the planned VM. Pulumi runs the hook only for a VM that is not in its state.

The list of guests also shows which VMs are missing. ``lifecycle/node.py`` uses their states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_proxmoxve as proxmoxve

from clients.errors import OperationError
from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import Guest, VmIdConflict, find_conflicts
from clients.talos import talosctl
from components.talos.args import ClusterFindings
from lifecycle.node import LOST, MachineState
from preflight.lost_state import refuse_lost_state
from preflight.sources import CURRENT
from settings.models import Settings
from settings.running import RunningStack


def proxmox_credentials(settings: Settings) -> proxmoxve.ProviderArgs:
    """Return the arguments of the Proxmox provider: URL and API token (secret)."""
    return proxmoxve.ProviderArgs(
        endpoint=settings.proxmoxve.endpoint,
        insecure=settings.proxmoxve.insecure,
        api_token=pulumi.Output.secret(settings.proxmoxve.api_token.get_secret_value()),
    )


IN_PREVIEWS_TOO = pulumi.ResourceHookOptions(on_dry_run=True)


@dataclass(frozen=True, kw_only=True)
class MachineChecks:
    """The results of the checks, and hooks. Pulumi runs a hook only when it creates a resource."""

    new_cluster: pulumi.ResourceHookBinding | None = None
    """Hook for the first resource of a new cluster, which it refuses if any VM id is taken."""
    hooks: Mapping[str, pulumi.ResourceHookBinding] = field(default_factory=dict)
    """By node name: hooks for the VM. They refuse it if its VM id is taken, and record its
    creation."""
    findings: ClusterFindings = field(default_factory=ClusterFindings)
    """States of the VMs, and the snapshot to restore."""


def check_machines(settings: Settings) -> MachineChecks:
    """Check VM ids and states of the VMs on Proxmox, and return hooks that refuse taken ids.

    If Proxmox does not answer, a preview logs a warning and continues, and an ``up`` raises
    ``pulumi.RunError`` before it changes anything. Raises ``pulumi.RunError`` also for an existing
    VM that needs a taken id, for a running cluster whose state is lost, for an upgrade while a
    control plane is lost, and for the removal of a node without ``talosctl``. Raises
    ``SettingsError`` if a new cluster cannot be restored from its
    snapshot.
    """
    sources = CURRENT.get()
    try:
        guests = sources.list_guests(settings.proxmoxve, [node.vm_id for node in settings.machines])
    except ProxmoxError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}\nNothing has been touched.") from None
        pulumi.log.warn(f"{error}\nThe preview continues, but has not checked the VM ids.")
        return MachineChecks(findings=ClusterFindings(restore=sources.plan_restore(settings)))
    _require_talosctl_for_removal(guests, settings)
    taken = find_conflicts(guests, settings.machines, settings.stack_tag)
    _refuse_taken_ids_of_existing_vms(taken, guests, settings)
    messages = {conflict.node.name: str(conflict) for conflict in taken}
    has_vms = any(settings.stack_tag in guest.tags for guest in guests)
    states = sources.look_at_machines(guests, settings.machines)
    refuse_lost_state(settings, guests, states)
    _refuse_upgrade_without_a_control_plane(settings, states)
    return MachineChecks(
        new_cluster=_refusing_hook("new-cluster", "\n".join(messages.values()))
        if messages and not has_vms
        else None,
        hooks=_hooks_of_vms(messages, settings if has_vms else None, states),
        findings=ClusterFindings(restore=sources.plan_restore(settings), machine_states=states),
    )


def _require_talosctl_for_removal(guests: Iterable[Guest], settings: Settings) -> None:
    """Refuse if this run removes a node and ``talosctl``, which the removal needs, is missing.

    The resource of the node cannot check this early: Pulumi deletes resources at the end of an
    ``up``, and a preview does not call them.
    """
    planned = {node.vm_id for node in settings.machines}
    removed = [g.name for g in guests if settings.stack_tag in g.tags and g.vm_id not in planned]
    if removed:
        try:
            talosctl.require(settings.cluster.talos)
        except OperationError as error:
            raise pulumi.RunError(f"{', '.join(removed)}: {error}") from None


def _refuse_upgrade_without_a_control_plane(
    settings: Settings, states: Mapping[str, MachineState]
) -> None:
    """Refuse an upgrade of Talos or Kubernetes while a control plane is lost (``LOST``).

    The upgrade of a control plane needs all members of etcd, and the lost control plane gets its
    machine config only after the upgrade of the others. So no run could finish.
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
    # After an interrupted upgrade there are two running versions, and the upgrade must continue.
    running_versions = [
        f"{setting} to {' or '.join(sorted(old))}"
        for setting, (old, wanted) in versions.items()
        if old and wanted not in old
    ]
    if lost and running_versions:
        raise pulumi.RunError(
            f"{', '.join(lost)} is lost (the VM is missing or has no machine config), and an "
            f"upgrade needs every control plane. Set {' and '.join(running_versions)} and run "
            "`make up`, which configures the control plane again. Then upgrade. Nothing has been "
            "touched."
        )


def _refuse_taken_ids_of_existing_vms(
    taken: Iterable[VmIdConflict], guests: Iterable[Guest], settings: Settings
) -> None:
    """Refuse to change the VM id of an existing VM to a taken id.

    Such a change replaces the VM. Pulumi deletes the existing VM before it runs the hook of the new
    one, so the hook would refuse too late.
    """
    existing = {guest.name for guest in guests if settings.stack_tag in guest.tags}
    refusals = [str(conflict) for conflict in taken if conflict.node.name in existing]
    if refusals:
        raise pulumi.RunError("\n".join(refusals))


def _hooks_of_vms(
    messages: Mapping[str, str], existing: Settings | None, states: dict[str, MachineState]
) -> dict[str, pulumi.ResourceHookBinding]:
    """The hooks of each VM, by node name.

    ``messages`` has the refusals by node name. ``existing`` has the settings of a stack that has
    VMs already; a stack without VMs needs no record of created VMs.
    """
    hooks = {name: _refusing_hook(name, message) for name, message in messages.items()}
    if existing:
        created = _remember_creation(states, existing.running)
        for node in existing.machines:
            binding = hooks.setdefault(node.name, pulumi.ResourceHookBinding())
            binding.after_create = [created]
    return hooks


def _remember_creation(
    states: dict[str, MachineState], running: RunningStack
) -> pulumi.ResourceHook:
    """A hook that records in ``states`` that Pulumi has created a VM in this run.

    A replaced VM has the VM id of the former one, so only Pulumi knows that it is new. A VM that is
    not in the Pulumi state, but had its machine config before this run, is not recorded: the
    provider adopts it without a change.
    """

    def remember(args: pulumi.ResourceHookArgs) -> None:
        name = (args.new_inputs or {})["name"]
        if states.get(name) or name in running.machines:
            states[name] = "created"

    return pulumi.ResourceHook("machine-is-created", remember)


def _refusing_hook(name: str, message: str) -> pulumi.ResourceHookBinding:
    def refuse(_: pulumi.ResourceHookArgs) -> None:
        raise RuntimeError(message)

    hook = pulumi.ResourceHook(f"vm-id-is-free-{name}", refuse, IN_PREVIEWS_TOO)
    return pulumi.ResourceHookBinding(before_create=[hook])
