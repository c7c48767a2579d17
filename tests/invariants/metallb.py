"""Invariants of MetalLB: address pools and their announcement."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.record import Recording
from settings.resource_types import ADVERTISEMENT, POOL
from tests.invariants.kubernetes import depends_on_release, releases_of
from tests.invariants.registry import invariant


@invariant("kubernetes: no matches for kind IPAddressPool; MetalLB's webhook: connection refused")
def pools_wait_for_metallb(recording: Recording) -> Iterator[tuple[str, str]]:
    """Pools depend on MetalLB's chart, which installs their CRDs and their webhook."""
    for resource in recording.of_type(POOL, ADVERTISEMENT):
        if not depends_on_release(recording, resource, "metallb"):
            yield resource.name, "no matches for kind: has no dependency on MetalLB's chart"
    for release in releases_of(recording, "metallb"):
        policy = release.plain("values", {}).get("crds", {}).get("validationFailurePolicy")
        if list(recording.of_type(POOL)) and policy != "Ignore":
            yield release.name, "its webhook rejects pools for some seconds after its pod is ready"


@invariant("metallb: an L2Advertisement without a valid pool name advertises every pool")
def advertisements_name_their_pool(recording: Recording) -> Iterator[tuple[str, str]]:
    """Each L2Advertisement names pools that exist."""
    pools = {pool.plain("metadata")["name"] for pool in recording.of_type(POOL)}
    for advertisement in recording.of_type(ADVERTISEMENT):
        named = advertisement.plain("spec", {}).get("ipAddressPools")
        if not named or not set(named) <= pools:
            yield advertisement.name, f"ipAddressPools must name existing pools, not {named}"


@invariant("siderolabs/talos#9960")
def at_least_one_node_announces_the_pool(recording: Recording) -> Iterator[tuple[str, str]]:
    """MetalLB ignores Talos' label exclude-from-external-load-balancers on control planes.

    Otherwise no node announces the addresses if there are no workers, or if Traefik, whose address
    only its own node announces, runs on a control plane."""
    for release in releases_of(recording, "metallb"):
        values = release.plain("values", {})
        if not values.get("speaker", {}).get("ignoreExcludeLB"):
            yield release.name, "no node announces the addresses: needs speaker.ignoreExcludeLB"
        if values.get("frrk8s", {}).get("enabled", True):
            yield (
                release.name,
                "installs FRR, which L2 mode does not use: needs frrk8s.enabled false",
            )
