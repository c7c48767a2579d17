"""What MetalLB refuses: pools and their announcement."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.record import Recording
from rehearsal.rules.book import rule
from rehearsal.rules.kubernetes import comes_after_release, releases_of
from rehearsal.rules.talos import configs, is_control_plane
from settings.resource_types import ADVERTISEMENT, POOL


@rule("facts/charts.md 0.1 and 3")
def pools_wait_for_metallb(recording: Recording) -> Iterator[tuple[str, str]]:
    """A pool before its CRDs fails, and one before its webhook serves fails too."""
    for resource in recording.of_type(POOL, ADVERTISEMENT):
        if not comes_after_release(recording, resource, "metallb"):
            yield resource.name, "no matches for kind: nothing orders it after MetalLB's chart"
    for release in releases_of(recording, "metallb"):
        policy = release.plain("values", {}).get("crds", {}).get("validationFailurePolicy")
        if list(recording.of_type(POOL)) and policy != "Ignore":
            yield release.name, "its webhook refuses pools for a while after its pod is ready"


@rule("facts/charts.md 3: a typo there advertises all pools")
def advertisements_name_their_pool(recording: Recording) -> Iterator[tuple[str, str]]:
    """An L2Advertisement without a valid pool list advertises everything."""
    pools = {pool.plain("metadata")["name"] for pool in recording.of_type(POOL)}
    for advertisement in recording.of_type(ADVERTISEMENT):
        named = advertisement.plain("spec", {}).get("ipAddressPools")
        if not named or not set(named) <= pools:
            yield advertisement.name, f"ipAddressPools must name pools of ours, not {named}"


@rule("facts/charts.md 0.3 (siderolabs/talos#9960)")
def somebody_announces_the_pool(recording: Recording) -> Iterator[tuple[str, str]]:
    """Talos' label keeps control planes from announcing; without workers nobody would."""
    roles = {is_control_plane(documents) for _, documents in configs(recording)}
    for release in releases_of(recording, "metallb"):
        values = release.plain("values", {})
        if roles == {True} and not values.get("speaker", {}).get("ignoreExcludeLB"):
            yield release.name, "no node announces: needs speaker.ignoreExcludeLB"
        if values.get("frrk8s", {}).get("enabled", True):
            yield release.name, "brings FRR, which L2 does not need: frrk8s.enabled false"
