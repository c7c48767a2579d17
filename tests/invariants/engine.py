"""Invariants of Pulumi: URNs, providers, secrets and the order of operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from rehearsal.record import Recording
from rehearsal.values import Secret
from settings.resource_types import (
    APPLY,
    FLUX_READY,
    KUBERNETES_VERSION,
    MACHINE,
    NODE,
    PROVIDER,
    READY,
    SECRET,
    SNAPSHOT,
    UNINSTALL,
)
from tests.invariants.registry import invariant


@invariant("pulumi: Duplicate resource URN")
def urns_are_unique(recording: Recording) -> Iterator[tuple[str, str]]:
    """Pulumi aborts an update if two resources have the same URN."""
    for urn, count in Counter(resource.urn for resource in recording.resources).items():
        if count > 1:
            yield urn.rpartition("::")[2], f"{count} resources have the URN {urn}"


@invariant("pulumi: Default provider disabled (pulumi:disable-default-providers)")
def every_resource_names_its_provider(recording: Recording) -> Iterator[tuple[str, str]]:
    """Every resource names its provider. A default provider could use another cluster or account.
    This includes dynamic resources: the setting also disables their default provider."""
    for resource in recording.resources:
        if resource.custom and not resource.type.startswith("pulumi:") and not resource.provider:
            yield resource.name, "has no provider, and default providers are disabled"


@invariant("pulumi: the state holds inputs and outputs in plain text unless they are secrets")
def credentials_are_secrets(recording: Recording) -> Iterator[tuple[str, str]]:
    """Credentials and machine configs are secrets in the state."""
    wanted = {
        APPLY: ("machineConfigurationInput",),
        PROVIDER: ("kubeconfig",),
        READY: ("credentials",),
        UNINSTALL: ("kubeconfig",),
        FLUX_READY: ("kubeconfig",),
        SECRET: ("data", "stringData"),
        NODE: ("credentials", "configuration"),
        SNAPSHOT: ("client_key",),
        KUBERNETES_VERSION: ("client_key",),
        "pulumi:providers:proxmoxve": ("apiToken",),
    }
    for resource in recording.resources:
        for name in wanted.get(resource.type, ()):
            if name in resource.inputs and not resource.is_secret(name):
                yield resource.name, f"{name} is in the state in plain text"
    outputs = list(recording.outputs.items())
    for component in (it for it in recording.resources if not it.custom):
        outputs += component.outputs.items()
    for name, value in outputs:
        if name in ("internal_kubeconfig", "kubeconfig", "talosconfig") and not isinstance(
            value, Secret
        ):
            yield name, "this output is shown in plain text"


@invariant("bpg reboot_after_update: the provider power-cycles all changed VMs at the same time")
def nodes_are_changed_one_at_a_time(recording: Recording) -> Iterator[tuple[str, str]]:
    """Nodes are upgraded one after the other, and machine configs are sent after all upgrades.
    Pulumi runs independent resources in parallel. If two control planes are down at the same time,
    etcd can lose its quorum."""
    nodes = list(recording.of_type(NODE))
    for earlier, later in pairwise(nodes):
        if earlier.urn not in recording.before(later):
            yield (
                later.name,
                f"has no dependency on {earlier.name}: both may go down at once",
            )
    known = {node.plain("node")["address"] for node in nodes}
    for apply in recording.of_type(APPLY):
        if apply.plain("applyMode") != "no_reboot":
            yield (
                apply.name,
                "the machine config may reboot several nodes at the same time",
            )
        if apply.plain("node") not in known or not {it.urn for it in nodes} <= recording.before(
            apply
        ):
            yield apply.name, "the machine config may reach its node before all nodes are upgraded"
    for vm in recording.of_type(MACHINE):
        if vm.plain("rebootAfterUpdate") is not False:
            yield vm.name, "the provider may power-cycle the VM at the same time as other VMs"
