"""What Flux refuses, or would leave behind."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.record import Recording
from rehearsal.rules.book import rule
from settings.resource_types import FLUX_READY, INSTANCE, KUSTOMIZATION, SECRET, SOURCE, UNINSTALL


@rule("fluxcd/flux2#632, fluxcd/terraform-provider-flux#67: Terminating for ever")
def flux_can_be_removed(recording: Recording) -> Iterator[tuple[str, str]]:
    """Objects of Flux wait for controllers that may be dead: our own removal goes before them."""
    removals = {it.urn for it in recording.of_type(UNINSTALL)}
    first = set().union(*(recording.before(it) for it in recording.of_type(UNINSTALL)))
    for it in recording.of_type(INSTANCE):
        if it.urn not in first:
            yield it.name, "FluxUninstall does not come after it, so it does not go before it"
    for it in recording.of_type(SOURCE, KUSTOMIZATION):
        if it.deleted_with not in removals:
            yield it.name, "must be deleted_with FluxUninstall, which takes its kind away"


@rule("fluxcd: spec.deletionPolicy is MirrorPrune by default, which deletes what was applied")
def applications_outlive_their_kustomization(recording: Recording) -> Iterator[tuple[str, str]]:
    """Somebody's `kubectl delete` must not take the applications and their data along."""
    for it in recording.of_type(KUSTOMIZATION):
        if it.plain("spec", {}).get("deletionPolicy") != "Orphan":
            yield it.name, "needs deletionPolicy Orphan"


@rule("kubernetes: no matches for kind GitRepository: the operator brings it")
def sources_wait_for_flux(recording: Recording) -> Iterator[tuple[str, str]]:
    """The kinds of Flux are there once its controllers are ready."""
    ready = {it.urn for it in recording.of_type(FLUX_READY) if it.plain("part") == "controllers"}
    for it in recording.of_type(SOURCE, KUSTOMIZATION):
        if not ready & recording.before(it):
            yield it.name, "no matches for kind: nothing waits for Flux's controllers"


@rule("fluxcd: secrets not found, tried again at the next interval")
def secrets_come_before_their_use(recording: Recording) -> Iterator[tuple[str, str]]:
    """What Flux opens a repository or a manifest with is there first."""
    secrets = {it.plain("metadata")["name"]: it.urn for it in recording.of_type(SECRET)}
    for it in recording.of_type(SOURCE, KUSTOMIZATION):
        spec = it.plain("spec", {})
        for user in (spec, spec.get("decryption", {})):
            name = user.get("secretRef", {}).get("name")
            if name and secrets.get(name) not in recording.before(it):
                yield it.name, f"nothing orders it after its secret {name}"
