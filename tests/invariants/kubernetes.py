"""Invariants of Kubernetes: providers, namespaces, charts, timeouts, and deletion."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rehearsal.record import Recording, Resource
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
from tests.invariants.registry import invariant


@invariant("pulumi-kubernetes: an unknown kubeconfig in a preview replaces the provider")
def kubernetes_waits_for_every_node(recording: Recording) -> Iterator[tuple[str, str]]:
    """The Kubernetes provider, and so every Kubernetes object, waits until all nodes are ready."""
    readiness = {it.urn for it in recording.of_type(READY)}
    applied = {apply.urn for apply in recording.of_type(APPLY, BOOTSTRAP)}
    for provider in recording.of_type(PROVIDER):
        if not readiness <= set(provider.dependencies):
            yield provider.name, "must depend on the readiness of the nodes"
        if provider.property_dependencies.get("kubeconfig") and readiness & set(
            provider.property_dependencies["kubeconfig"]
        ):
            yield (
                provider.name,
                "its kubeconfig is an output of the readiness: unknown in previews",
            )
        if not provider.plain("upsertExistingObjects"):
            yield (
                provider.name,
                "needs upsert_existing_objects: objects of an interrupted run already exist",
            )
        if not provider.plain("clusterIdentifier"):
            yield (
                provider.name,
                "needs cluster_identifier, or a renewed kubeconfig replaces it",
            )
        known = {name for it in recording.of_type(READY) for name in it.plain("nodes")}
        if known != {vm.plain("name") for vm in recording.of_type(MACHINE)}:
            yield provider.name, "does not wait for every node"
        if not applied <= recording.before(provider):
            yield provider.name, "does not wait for every machine config and the bootstrap"


@invariant("pulumi-kubernetes: deletes fail if the API server does not answer")
def destroy_needs_no_running_cluster(recording: Recording) -> Iterator[tuple[str, str]]:
    """Everything in the cluster is deleted_with the machine secrets, so that `destroy` does not
    call the Kubernetes API."""
    identities = {secrets.urn for secrets in recording.of_type(SECRETS)}
    # A FluxUninstall is deleted_with the machine secrets itself: the loop checks that too.
    removals = {removal.urn for removal in recording.of_type(UNINSTALL)}
    for resource in recording.resources:
        uses_api = resource.in_kubernetes or resource.type in (PROVIDER, UNINSTALL, FLUX_READY)
        if uses_api and resource.deleted_with not in identities | removals:
            yield resource.name, "must be deleted_with the cluster's machine secrets"


@invariant("pulumi-kubernetes: the next up waits 10 minutes for a Deployment that is not ready")
def kubernetes_objects_have_timeouts(recording: Recording) -> Iterator[tuple[str, str]]:
    """Every Kubernetes object has timeouts for create, update and delete."""
    for resource in recording.resources:
        if resource.in_kubernetes and not {"create", "update", "delete"} <= set(
            resource.custom_timeouts
        ):
            yield resource.name, "needs custom_timeouts for create, update and delete"


PRIVILEGED_CHARTS = {"longhorn", "metallb"}
"""Charts with pods that the Pod Security level baseline rejects."""


@invariant("Talos enforces the Pod Security level baseline outside kube-system")
def namespaces_admit_their_pods(recording: Recording) -> Iterator[tuple[str, str]]:
    """Each namespace admits the pods of its chart. Otherwise Helm reports `deployed`, but no pod
    starts."""
    levels = {
        space.plain("metadata")["name"]: space.plain("metadata")
        .get("labels", {})
        .get("pod-security.kubernetes.io/enforce")
        for space in recording.of_type(NAMESPACE)
    }
    for name, level in levels.items():
        if level is None:
            yield name, "the namespace has no Pod Security label"
    for release in recording.of_type(RELEASE):
        space = release.plain("namespace")
        values = release.plain("values", {})
        needs_more = release.plain("chart", "").rpartition("/")[2] in PRIVILEGED_CHARTS
        if space not in levels or release.plain("createNamespace"):
            yield release.name, f"namespace {space} is not created by this program"
        elif (needs_more or values.get("hostNetwork")) and levels[space] != "privileged":
            yield release.name, f"violates PodSecurity: {space} enforces {levels[space]}"


@invariant("kubernetes: namespaces not found")
def namespaces_come_first(recording: Recording) -> Iterator[tuple[str, str]]:
    """Each object depends on its namespace."""
    spaces = {space.plain("metadata")["name"]: space.urn for space in recording.of_type(NAMESPACE)}
    for resource in recording.resources:
        if not resource.in_kubernetes or resource.type == NAMESPACE:
            continue
        metadata = resource.plain("metadata", {}) or {}
        space = resource.plain("namespace") or metadata.get("namespace")
        if space not in spaces:
            yield resource.name, f"namespace {space} is not created by this program"
        elif spaces[space] not in recording.before(resource):
            yield resource.name, f"has no dependency on its namespace {space}"


@invariant("chart values are written for a range of chart versions")
def charts_are_pinned(recording: Recording) -> Iterator[tuple[str, str]]:
    """Each chart has a full version."""
    for release in recording.of_type(RELEASE):
        if not re.fullmatch(r"\d+\.\d+\.\d+", str(release.plain("version"))):
            yield release.name, "its chart's version is not pinned"


def releases_of(recording: Recording, chart: str) -> Iterator[Resource]:
    """Yield the Helm releases of a chart."""
    for release in recording.of_type(RELEASE):
        if str(release.plain("chart")).rpartition("/")[2] == chart:
            yield release


def depends_on_release(recording: Recording, resource: Resource, chart: str) -> bool:
    """Return whether a resource depends on a Helm release of the chart."""
    return bool({r.urn for r in releases_of(recording, chart)} & recording.before(resource))
