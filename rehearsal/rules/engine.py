"""What the engine itself refuses, or would do in a way that hurts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from rehearsal.record import Recording
from rehearsal.rules.book import rule
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


@rule("pulumi: Duplicate resource URN")
def names_are_unique(recording: Recording) -> Iterator[tuple[str, str]]:
    """Two resources of one URN end an update."""
    for urn, count in Counter(resource.urn for resource in recording.resources).items():
        if count > 1:
            yield urn.rpartition("::")[2], f"{count} resources have the URN {urn}"


@rule("pulumi: Default provider disabled (pulumi:disable-default-providers)")
def providers_are_chosen(recording: Recording) -> Iterator[tuple[str, str]]:
    """A forgotten provider would be a default one: another cluster, another account. That of
    dynamic resources is switched off with the others (found with the real engine)."""
    for resource in recording.resources:
        if resource.custom and not resource.type.startswith("pulumi:") and not resource.provider:
            yield resource.name, "no provider was chosen, and the default ones are switched off"


@rule("facts/end-to-end.md 13")
def secrets_are_secret(recording: Recording) -> Iterator[tuple[str, str]]:
    """What opens the house is never plain in the state."""
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
                yield resource.name, f"{name} would stand in the state in plain text"
    outputs = list(recording.outputs.items())
    for component in (it for it in recording.resources if not it.custom):
        outputs += component.outputs.items()
    for name, value in outputs:
        if name in ("internal_kubeconfig", "kubeconfig", "talosconfig") and not isinstance(
            value, Secret
        ):
            yield name, "this output would be shown in plain text"


@rule("facts/end-to-end.md 6: left alone, all machines are power-cycled at the same time")
def nodes_are_changed_one_at_a_time(recording: Recording) -> Iterator[tuple[str, str]]:
    """The engine takes in parallel what nothing orders, and two nodes down together may be etcd's
    end. A config that came before the upgrades would reach all nodes at once."""
    nodes = list(recording.of_type(NODE))
    for earlier, later in pairwise(nodes):
        if earlier.urn not in recording.before(later):
            yield later.name, f"nothing orders it after {earlier.name}: both would go down together"
    known = {node.plain("node")["address"] for node in nodes}
    for apply in recording.of_type(APPLY):
        if apply.plain("applyMode") != "no_reboot":
            yield apply.name, "the config would reboot its node together with the others"
        if apply.plain("node") not in known or not {it.urn for it in nodes} <= recording.before(
            apply
        ):
            yield apply.name, "the config would reach its node before all nodes are upgraded"
    for machine in recording.of_type(MACHINE):
        if machine.plain("rebootAfterUpdate") is not False:
            yield machine.name, "the provider would power-cycle it together with the others"
