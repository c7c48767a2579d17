"""Checks VM ids and the state of the VMs on Proxmox, in every preview and every ``up``.

If a VM id is already taken, the Proxmox provider silently adopts that guest: it resizes the guest,
and later deletes it with its disks. (The provider retries the creation, and takes the second
"already exists" for success: bpg/proxmox proxmox/retry/retry.go ``IsTransientAPIError``.) A preview
of Pulumi does not contact Proxmox. So this module lists all guests with one request, and reads the
configuration of those with a VM id of the stack. A ``destroy`` does not run the program, so it
checks nothing.

If a VM id of the stack belongs to another guest (``ownership`` in ``clients/proxmox/guests.py``),
nothing is previewed or changed. This includes the VM ids in the
Pulumi state that are not planned any more: an ``up`` would delete their guests.

The list of guests also shows which VMs are missing. ``lifecycle/node.py`` uses their states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_proxmoxve as proxmoxve

from clients.errors import OperationError
from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import Guest, find_conflicts
from clients.talos import talosctl
from components.machines import VmFindings
from components.talos.args import ClusterFindings
from lifecycle.node import LOST, MachineState
from preflight.hardware import hardware_notes, kept_inputs
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


@dataclass(frozen=True, kw_only=True)
class MachineChecks:
    """The results of the checks, and hooks for the VMs."""

    vms: VmFindings = field(default_factory=VmFindings)
    """Hooks, which record the creation of a VM and refuse to update a locked one, and inputs that
    stay as they are in Proxmox."""
    findings: ClusterFindings = field(default_factory=ClusterFindings)
    """States of the VMs, and the snapshot to restore."""


def check_machines(settings: Settings) -> MachineChecks:
    """Check VM ids and states of the VMs on Proxmox.

    If Proxmox does not answer, a preview logs a warning and continues, and an ``up`` raises
    ``pulumi.RunError`` before it changes anything. Raises ``pulumi.RunError`` also for VM ids that
    belong to another guest, for a running cluster whose state is lost, for an upgrade while a
    control plane is lost, and for the removal of a node without ``talosctl``. Raises
    ``SettingsError`` if a new cluster cannot be restored from its snapshot.
    """
    sources = CURRENT.get()
    try:
        guests = sources.list_guests(settings.proxmoxve, _vm_ids(settings))
    except ProxmoxError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}\nNothing has been touched.") from None
        pulumi.log.warn(f"{error}\nThe preview continues, but has not checked the VM ids.")
        return MachineChecks(findings=ClusterFindings(restore=sources.plan_restore(settings)))
    conflicts = find_conflicts(
        guests, settings.machines, settings.stack_tag, settings.running.names_by_vm_id
    )
    if conflicts:
        raise pulumi.RunError("\n".join(str(conflict) for conflict in conflicts))
    _require_talosctl_for_removal(guests, settings)
    _note_moved_vms(guests, settings.running)
    for note in hardware_notes(guests, settings):
        pulumi.log.warn(str(note))
    has_vms = any(settings.stack_tag in guest.tags for guest in guests)
    states = sources.look_at_machines(guests, settings.machines)
    refuse_lost_state(settings, guests, states)
    _refuse_upgrade_without_a_control_plane(settings, states)
    return MachineChecks(
        vms=VmFindings(
            hooks=_hooks_of_vms(settings, states, guests) if has_vms else {},
            kept_inputs=kept_inputs(guests, settings),
        ),
        findings=ClusterFindings(restore=sources.plan_restore(settings), machine_states=states),
    )


def _note_moved_vms(guests: Iterable[Guest], running: RunningStack) -> None:
    """Log a warning for each VM that is not on the host of the Pulumi state."""
    hosts = {guest.vm_id: guest.host for guest in guests}
    for vm in running.machines.values():
        host = hosts.get(vm.vm_id or 0, vm.host)
        if host != vm.host:
            pulumi.log.warn(
                f"{vm.name} was moved from {vm.host} to {host}. It stays there, unless its host is "
                "set in nodes.overrides. `make up` writes the new host into the Pulumi state."
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


def _vm_ids(settings: Settings) -> list[int]:
    """The VM ids of the planned nodes, and those in the Pulumi state."""
    planned = [node.vm_id for node in settings.machines]
    return [*planned, *(settings.running.names_by_vm_id.keys() - planned)]


def _hooks_of_vms(
    settings: Settings, states: dict[str, MachineState], guests: Iterable[Guest]
) -> dict[str, pulumi.ResourceHookBinding]:
    """The hooks of each VM, by node name, in a stack that has VMs already."""
    created = _remember_creation(states, settings.running)
    locked = {guest.vm_id: guest for guest in guests if guest.lock}
    return {
        node.name: pulumi.ResourceHookBinding(
            after_create=[created],
            before_update=[_refuse_update(node.name, locked[node.vm_id])]
            if node.vm_id in locked
            else None,
        )
        for node in settings.machines
    }


def _refuse_update(name: str, guest: Guest) -> pulumi.ResourceHook:
    """A hook that refuses to update a locked VM.

    Proxmox would refuse it too, but the provider records the new values in the state although the
    update failed. So the next ``up`` would find no difference, and the VM would keep the old ones.
    """

    def refuse(_: pulumi.ResourceHookArgs) -> None:
        raise pulumi.RunError(
            f"{name} was not changed: Proxmox had locked VM {guest.vm_id} ({guest.lock}) when this "
            f"run began. Wait until the {guest.lock} ends, and run `make up` again."
        )

    return pulumi.ResourceHook(f"{name}-is-locked", refuse)


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
