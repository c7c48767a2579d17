"""Invariants of Flux: order, removal and secrets."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.record import Recording
from settings.resource_types import FLUX_READY, INSTANCE, SECRET, UNINSTALL
from tests.invariants.registry import invariant

SOURCE = "kubernetes:source.toolkit.fluxcd.io/v1:GitRepository"
KUSTOMIZATION = "kubernetes:kustomize.toolkit.fluxcd.io/v1:Kustomization"


@invariant("fluxcd/flux2#632, fluxcd/terraform-provider-flux#67: objects stay Terminating")
def flux_can_be_removed(recording: Recording) -> Iterator[tuple[str, str]]:
    """FluxUninstall removes Flux's objects. Their finalizers would wait for controllers that may be
    down."""
    removals = {it.urn for it in recording.of_type(UNINSTALL)}
    first = set().union(*(recording.before(it) for it in recording.of_type(UNINSTALL)))
    for it in recording.of_type(INSTANCE):
        if it.urn not in first:
            yield (
                it.name,
                "FluxUninstall does not depend on the instance: Pulumi may delete that first",
            )
    for it in recording.of_type(SOURCE, KUSTOMIZATION):
        if it.deleted_with not in removals:
            yield it.name, "must be deleted_with FluxUninstall, which deletes its CRD"


@invariant("fluxcd: spec.deletionPolicy is MirrorPrune by default: deletes all applied objects")
def kustomizations_do_not_delete_applications(recording: Recording) -> Iterator[tuple[str, str]]:
    """Deleting a Kustomization with `kubectl` does not delete the applications and their data."""
    for it in recording.of_type(KUSTOMIZATION):
        if it.plain("spec", {}).get("deletionPolicy") != "Orphan":
            yield it.name, "needs deletionPolicy Orphan"


@invariant("kubernetes: no matches for kind GitRepository (the Flux Operator installs the CRD)")
def sources_wait_for_flux(recording: Recording) -> Iterator[tuple[str, str]]:
    """Flux's CRDs exist once its controllers are ready."""
    ready = {it.urn for it in recording.of_type(FLUX_READY) if it.plain("part") == "controllers"}
    for it in recording.of_type(SOURCE, KUSTOMIZATION):
        if not ready & recording.before(it):
            yield it.name, "no matches for kind: has no dependency on Flux's controllers"


@invariant("fluxcd: secrets not found, retried at the next interval")
def sources_wait_for_their_secrets(recording: Recording) -> Iterator[tuple[str, str]]:
    """A source depends on the Secrets that it uses."""
    secrets = {it.plain("metadata")["name"]: it.urn for it in recording.of_type(SECRET)}
    for it in recording.of_type(SOURCE, KUSTOMIZATION):
        spec = it.plain("spec", {})
        for user in (spec, spec.get("decryption", {})):
            name = user.get("secretRef", {}).get("name")
            if name and secrets.get(name) not in recording.before(it):
                yield it.name, f"has no dependency on its Secret {name}"
