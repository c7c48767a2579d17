"""Uninstalls Flux when the group ``flux`` is removed from the settings.

Flux's objects have finalizers that only running controllers remove. If the controllers do not run,
the deletion of the objects times out and their namespace is never deleted
(fluxcd/terraform-provider-flux#67, fluxcd/flux2#632). So this resource is deleted first and does
the same as ``flux uninstall``: stop the controllers, remove the finalizers, delete the custom
resource definitions. Resources that Flux applied are not deleted. A destroy of the whole stack
skips this.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pulumi

from clients.kubernetes.api import ClusterApi
from lifecycle.provider import Provider, Resource

GRACE_S = 30
"""Seconds that pods have to terminate: a controller may be running a Helm upgrade."""
STEP_TIMEOUT_S = 120
"""Timeout of each step in seconds."""
INTERVAL_S = 1
"""Seconds between two requests of a wait."""
GROUPS = (".toolkit.fluxcd.io", ".extensions.fluxcd.io", "fluxcd.controlplane.io")
"""Suffixes of the API groups of Flux and its operator."""
KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROLES = (
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
)
OPERATOR_SELECTOR = "labelSelector=fluxcd.controlplane.io%2Fname%3Dflux"
"""Selects what the operator created for the FluxInstance ``flux``."""


@dataclass(frozen=True, kw_only=True)
class FluxUninstallArgs:
    """Arguments of ``FluxUninstall``."""

    kubeconfig: pulumi.Input[str]
    """Kubeconfig; becomes a secret."""
    namespace: str
    """Namespace of the controllers."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return {
            "kubeconfig": pulumi.Output.secret(self.kubeconfig),
            "namespace": self.namespace,
        }


@dataclass(frozen=True, kw_only=True)
class FluxUninstallInputs:
    """What the provider gets."""

    kubeconfig: str
    namespace: str


class FluxUninstall(Resource[FluxUninstallArgs]):
    """A resource whose deletion uninstalls Flux; its creation does nothing."""


class FluxUninstallProvider(Provider[FluxUninstallInputs]):
    """create: nothing; update: store the renewed kubeconfig; delete: uninstall Flux."""

    name = "FluxUninstall"
    inputs = FluxUninstallInputs
    id_input = "namespace"

    def on_delete(self, inputs: FluxUninstallInputs) -> None:
        """Uninstall Flux. Raises ``TimeoutError`` or ``ApiError``."""
        uninstall(ClusterApi.of(inputs.kubeconfig), inputs.namespace)


def uninstall(api: ClusterApi, namespace: str) -> None:
    """Stop the controllers in ``namespace``, then delete all objects and kinds of Flux.

    Raises ``TimeoutError`` with the objects that are left after ``STEP_TIMEOUT_S`` seconds, and
    ``ApiError`` if the API does not answer. It can be repeated.
    """
    stop(api, namespace)
    delete_kinds(api)
    for path in ROLES:
        for role in api.items(f"{path}?{OPERATOR_SELECTOR}"):
            api.delete(f"{path}/{role['metadata']['name']}")


def stop(api: ClusterApi, namespace: str) -> None:
    """Stop every controller: a running one would add its finalizers again."""
    apps = f"/apis/apps/v1/namespaces/{namespace}"
    pods = f"/api/v1/namespaces/{namespace}/pods"

    def delete_workloads() -> None:
        for kind in ("deployments", "replicasets"):
            for it in api.items(f"{apps}/{kind}"):
                path = f"{apps}/{kind}/{it['metadata']['name']}"
                api.delete(path, propagationPolicy="Background")

    delete_workloads()
    for waited_s in _poll_until_none("pods of Flux still exist", lambda: api.items(pods)):
        # Until they see the deletion, the Deployment controller recreates a ReplicaSet and the
        # operator recreates a Deployment.
        delete_workloads()
        if waited_s >= GRACE_S:
            # A node that is down never reports that its pods ended.
            for pod in api.items(pods):
                api.delete(f"{pods}/{pod['metadata']['name']}", gracePeriodSeconds=0)


def delete_kinds(api: ClusterApi) -> None:
    """Delete the custom resource definitions of Flux, and so all their objects."""
    for kind in _kinds(api):
        api.delete(f"{KINDS}/{kind['metadata']['name']}")
    for _ in _poll_until_none("objects of Flux still exist", lambda: _kinds(api)):
        for kind in _kinds(api):
            for path, it in _objects(api, kind):
                if it["metadata"].get("finalizers"):
                    api.merge(path, {"metadata": {"finalizers": None}})


def _kinds(api: ClusterApi) -> list[dict[str, Any]]:
    return [kind for kind in api.items(KINDS) if kind["spec"]["group"].endswith(GROUPS)]


def _objects(api: ClusterApi, kind: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a kind, in all namespaces, with its path."""
    spec = kind["spec"]
    version = next(it["name"] for it in spec["versions"] if it["storage"])
    base, plural = f"/apis/{spec['group']}/{version}", spec["names"]["plural"]
    for it in api.items(f"{base}/{plural}"):
        metadata = it["metadata"]
        scope = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
        yield f"{base}/{scope}{plural}/{metadata['name']}", it


def _poll_until_none(failure: str, list_objects: Any) -> Iterator[float]:
    """Yield the elapsed seconds while objects exist. Raises ``TimeoutError`` with their names."""
    begin = time.monotonic()
    while found := list_objects():
        waited_s = time.monotonic() - begin
        if waited_s >= STEP_TIMEOUT_S:
            names = ", ".join(sorted(it["metadata"]["name"] for it in found))
            raise TimeoutError(
                f"{failure} after {STEP_TIMEOUT_S} s: {names}. Check them with kubectl, then run "
                "`up` again: it continues from here."
            )
        yield waited_s
        time.sleep(INTERVAL_S)
