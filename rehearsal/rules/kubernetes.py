"""What Kubernetes refuses: providers, namespaces, charts; and what a dying cluster is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rehearsal.record import Recording, Resource
from rehearsal.rules.book import rule
from settings.resource_types import (
    APPLY,
    BOOTSTRAP,
    FLUX_READY,
    MACHINE,
    NAMESPACE,
    PROVIDER,
    READY,
    RELEASE,
    SECRETS,
    UNINSTALL,
)


@rule("facts/end-to-end.md 5 and its last part")
def the_api_waits_for_every_node(recording: Recording) -> Iterator[tuple[str, str]]:
    """Nothing in Kubernetes before the cluster is healthy, by way of its provider."""
    gates = {gate.urn for gate in recording.of_type(READY)}
    applied = {apply.urn for apply in recording.of_type(APPLY, BOOTSTRAP)}
    for provider in recording.of_type(PROVIDER):
        if not gates <= set(provider.dependencies):
            yield provider.name, "must depend on the readiness of the nodes"
        if provider.property_dependencies.get("kubeconfig") and gates & set(
            provider.property_dependencies["kubeconfig"]
        ):
            yield provider.name, "its kubeconfig comes through the readiness: it would go unknown"
        if not provider.plain("upsertExistingObjects"):
            yield (
                provider.name,
                "needs upsert_existing_objects: what a killed run made is in its way",
            )
        if not provider.plain("clusterIdentifier"):
            yield provider.name, "needs cluster_identifier, or a renewed kubeconfig replaces it"
        known = {name for gate in recording.of_type(READY) for name in gate.plain("nodes")}
        if known != {machine.plain("name") for machine in recording.of_type(MACHINE)}:
            yield provider.name, "is not kept waiting for every node"
        if not applied <= recording.before(provider):
            yield provider.name, "does not wait for every config and the bootstrap"


@rule("facts/end-to-end.md 11-12, facts/providers.md E")
def the_dying_cluster_is_not_asked(recording: Recording) -> Iterator[tuple[str, str]]:
    """What lives in the cluster goes with the cluster's identity, and with no machine."""
    identities = {secrets.urn for secrets in recording.of_type(SECRETS)}
    # These go with the cluster themselves, which this very rule sees to.
    removals = {removal.urn for removal in recording.of_type(UNINSTALL)}
    for resource in recording.resources:
        asked = resource.in_kubernetes or resource.type in (PROVIDER, UNINSTALL, FLUX_READY)
        if asked and resource.deleted_with not in identities | removals:
            yield resource.name, "must be deleted_with the cluster's machine secrets"


@rule("facts/end-to-end.md 1-4: an unready Deployment is awaited for ten minutes by the next up")
def waits_have_limits(recording: Recording) -> Iterator[tuple[str, str]]:
    """Every wait has a time limit of its own."""
    for resource in recording.resources:
        if resource.in_kubernetes and not {"create", "update", "delete"} <= set(
            resource.custom_timeouts
        ):
            yield resource.name, "needs custom_timeouts for create, update and delete"


PRIVILEGED_CHARTS = {"longhorn", "metallb"}
"""Charts whose pods a baseline namespace refuses (facts/charts.md 3 and 4)."""


@rule("facts/charts.md 0.2 and 5: Talos enforces baseline outside kube-system")
def namespaces_admit_their_pods(recording: Recording) -> Iterator[tuple[str, str]]:
    """A chart that needs more than its namespace admits is `deployed` and never starts."""
    levels = {
        space.plain("metadata")["name"]: space.plain("metadata")
        .get("labels", {})
        .get("pod-security.kubernetes.io/enforce")
        for space in recording.of_type(NAMESPACE)
    }
    for name, level in levels.items():
        if level is None:
            yield name, "this namespace has no Pod Security label"
    for release in recording.of_type(RELEASE):
        space = release.plain("namespace")
        values = release.plain("values", {})
        needs_more = release.plain("chart", "").rpartition("/")[2] in PRIVILEGED_CHARTS
        if space not in levels or release.plain("createNamespace"):
            yield release.name, f"its namespace {space} is not one of ours"
        elif (needs_more or values.get("hostNetwork")) and levels[space] != "privileged":
            yield release.name, f"violates PodSecurity: {space} enforces {levels[space]}"


@rule("kubernetes: namespaces not found")
def namespaces_come_first(recording: Recording) -> Iterator[tuple[str, str]]:
    """What stands in a namespace of ours waits for it."""
    spaces = {space.plain("metadata")["name"]: space.urn for space in recording.of_type(NAMESPACE)}
    for resource in recording.resources:
        if not resource.in_kubernetes or resource.type == NAMESPACE:
            continue
        metadata = resource.plain("metadata", {}) or {}
        space = resource.plain("namespace") or metadata.get("namespace")
        if space not in spaces:
            yield resource.name, f"namespace {space} is made by nobody"
        elif spaces[space] not in recording.before(resource):
            yield resource.name, f"nothing orders it after its namespace {space}"


@rule("facts/charts.md 2: values are valid for a range of versions")
def charts_are_pinned(recording: Recording) -> Iterator[tuple[str, str]]:
    """A chart's version is written down."""
    for release in recording.of_type(RELEASE):
        if not re.fullmatch(r"\d+\.\d+\.\d+", str(release.plain("version"))):
            yield release.name, "its chart's version is not pinned"


def releases_of(recording: Recording, chart: str) -> Iterator[Resource]:
    for release in recording.of_type(RELEASE):
        if str(release.plain("chart")).rpartition("/")[2] == chart:
            yield release


def comes_after_release(recording: Recording, resource: Resource, chart: str) -> bool:
    return bool({r.urn for r in releases_of(recording, chart)} & recording.before(resource))
