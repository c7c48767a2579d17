"""The removal of Flux, as a resource: made before all objects of Flux, which go with it.

Objects of Flux carry finalizers that only living controllers take off. Were the engine to delete
them one by one, a controller that is dead would hold it up until its time is over, and the
namespace for ever (fluxcd/terraform-provider-flux#67, fluxcd/flux2#632). So this does, before all
else, what `flux uninstall` and the operator's own uninstaller do: stop the controllers, take the
finalizers off, delete the kinds. It is the same whether the controllers live, are dead, or hang.
What Flux applied stays as it is.

Making it does nothing, and a destroy of the whole castle does not ask it: it goes with the cluster.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pulumi
from pulumi import dynamic

from clients.kubernetes.api import ClusterApi
from lifecycle.provider import MODULE, Provider

GRACE = 30
"""Seconds that pods have to end by themselves; a Helm upgrade may be under way."""
LIMIT = 120
"""Seconds for each step, after which it fails with what is left."""
INTERVAL = 1
"""Seconds between two looks."""
GROUPS = (".toolkit.fluxcd.io", ".extensions.fluxcd.io", "fluxcd.controlplane.io")
"""How the API groups of Flux and its operator end."""
KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROLES = (
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
)
OWNED = "labelSelector=fluxcd.controlplane.io%2Fname%3Dflux"
"""What the operator made: its label, and the name of the FluxInstance."""


class FluxUninstall(dynamic.Resource, module=MODULE, name="FluxUninstall"):
    """Nothing while it is there; when it goes, Flux lets go of everything."""

    def __init__(
        self,
        resource_name: str,
        *,
        kubeconfig: pulumi.Input[str],
        namespace: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``kubeconfig`` becomes a secret of the state; ``namespace`` is Flux's own."""
        super().__init__(
            FluxUninstallProvider(),
            resource_name,
            {"kubeconfig": pulumi.Output.secret(kubeconfig), "namespace": namespace},
            opts,
        )


class FluxUninstallProvider(Provider):
    """Keeps the kubeconfig that a removal needs, also a renewed one, and removes Flux on delete."""

    name = "FluxUninstall"
    id_input = "namespace"

    def on_delete(self, props: dict[str, Any]) -> None:
        """Remove Flux from a running cluster; raises an error that names what is left."""
        uninstall(ClusterApi.of(props["kubeconfig"]), props["namespace"])


def uninstall(api: ClusterApi, namespace: str) -> None:
    """Stop Flux in ``namespace``, and take away all that only Flux could.

    Raises ``TimeoutError`` with what is left after ``LIMIT`` seconds, and ``ApiError`` where the
    API does not answer. Can be run again.
    """
    stop(api, namespace)
    delete_kinds(api)
    for path in ROLES:
        for role in api.items(f"{path}?{OWNED}"):
            api.delete(f"{path}/{role['metadata']['name']}")


def stop(api: ClusterApi, namespace: str) -> None:
    """End every controller: one that lives would put its finalizers on again."""
    apps = f"/apis/apps/v1/namespaces/{namespace}"
    pods = f"/api/v1/namespaces/{namespace}/pods"

    def delete_workloads() -> None:
        for kind in ("deployments", "replicasets"):
            for it in api.items(f"{apps}/{kind}"):
                path = f"{apps}/{kind}/{it['metadata']['name']}"
                api.delete(path, propagationPolicy="Background")

    delete_workloads()
    for waited in _looks("pods of Flux are still there", lambda: api.items(pods)):
        # Kubernetes' Deployment controller makes a ReplicaSet again if it has not heard of the end
        # of its Deployment yet, and the operator a Deployment.
        delete_workloads()
        if waited >= GRACE:
            # A node that is gone never reports the end of its pods.
            for pod in api.items(pods):
                api.delete(f"{pods}/{pod['metadata']['name']}", gracePeriodSeconds=0)


def delete_kinds(api: ClusterApi) -> None:
    """Delete the kinds of Flux, and with them every object of theirs, wherever it is."""
    for kind in _kinds(api):
        api.delete(f"{KINDS}/{kind['metadata']['name']}")
    for _ in _looks("objects of Flux are still there", lambda: _kinds(api)):
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
        place = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
        yield f"{base}/{place}{plural}/{metadata['name']}", it


def _looks(left: str, look: Any) -> Iterator[float]:
    """Yield the seconds gone by, as long as a look finds something; end with an error at last."""
    begin = time.monotonic()
    while found := look():
        waited = time.monotonic() - begin
        if waited >= LIMIT:
            names = ", ".join(sorted(it["metadata"]["name"] for it in found))
            raise TimeoutError(
                f"{left} after {LIMIT} s: {names}. Look at them with kubectl, then run `up` again: "
                "it goes on from here."
            )
        yield waited
        time.sleep(INTERVAL)
