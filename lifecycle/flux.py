"""Two resources for Flux: one waits until a part of Flux is ready, one uninstalls Flux.

The wait of the Kubernetes provider reports only "timed out", without Flux's message that names a
wrong key or branch. So ``FluxReady`` waits on create and update, and never in a preview or on
delete.

Flux's objects have finalizers that only running controllers remove. If the controllers do not run,
the deletion of the objects times out and their namespace is never deleted
(fluxcd/terraform-provider-flux#67, fluxcd/flux2#632). So ``FluxUninstall`` is deleted first if the
group ``flux`` is removed from the settings. It does the same as ``flux uninstall``: stop the
controllers, remove the finalizers, delete the custom resource definitions. Resources that Flux
applied are not deleted. A destroy of the whole stack skips this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pulumi

from clients.kubernetes import flux_health
from clients.kubernetes.api import ClusterApi, KubernetesError, Object
from clients.wait import NotYet, wait_until
from lifecycle.provider import Provider, Resource

READY_TIMEOUT_S = {"controllers": 600, "source": 300}
"""Timeout in seconds by part: the controllers pull images, the source is fetched from Git."""
_FIXES = {
    "controllers": "Check the pods in the namespace flux-system",
    "source": "Check flux.url, flux.branch and the key or token that goes with them",
}
_GRACE_S = 30
"""Seconds that pods have to terminate: a controller may be running a Helm upgrade."""
STEP_TIMEOUT_S = 120
"""Timeout of each step in seconds."""
_INTERVAL_S = 1
"""Seconds between two requests of a wait."""
_GROUPS = (".toolkit.fluxcd.io", ".extensions.fluxcd.io", "fluxcd.controlplane.io")
"""Suffixes of the API groups of Flux and its operator."""
KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ROLES = (
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
)
_OPERATOR_SELECTOR = "labelSelector=fluxcd.controlplane.io%2Fname%3Dflux"
"""Selects what the operator created for the FluxInstance ``flux``."""


@dataclass(frozen=True, kw_only=True)
class FluxSource:
    """The Git source that Flux applies. If it changes, Flux deletes what the new source lacks."""

    url: str
    """URL of the repository."""
    branch: str
    """Git branch."""
    path: str
    """Folder in the repository."""
    reclaim_policy: str
    """``longhorn.reclaim_policy``, for the message. Its change alone is no update."""


@dataclass(frozen=True, kw_only=True)
class FluxReadyArgs:
    """Arguments of ``FluxReady``."""

    part: str
    """The awaited part, a key of ``READY_TIMEOUT_S``."""
    wanted: str
    """The beginning of the error message. If it changes, the resource waits again."""
    kubeconfig: pulumi.Input[str]
    """Kubeconfig; becomes a secret."""
    source: FluxSource | None = None
    """Set for the part ``source``, whose preview describes a change."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return {
            "part": self.part,
            "wanted": self.wanted,
            **({"source": asdict(self.source)} if self.source else {}),
            "kubeconfig": pulumi.Output.secret(self.kubeconfig),
        }


@dataclass(frozen=True, kw_only=True)
class FluxReadyInputs:
    """What the provider gets."""

    part: str
    wanted: str
    kubeconfig: str
    source: FluxSource | None = None


class FluxReady(Resource[FluxReadyArgs]):
    """A part of Flux that is ready: the controllers or the source."""


class FluxReadyProvider(Provider[FluxReadyInputs]):
    """create and update: wait; delete: nothing. A renewed kubeconfig is no update."""

    name = "FluxReady"
    inputs = FluxReadyInputs
    id_input = "part"
    compared = ("part", "wanted", "source")
    ignored = ("source.reclaim_policy",)
    stored = ("part", "wanted", "source")

    def on_create(self, inputs: FluxReadyInputs) -> None:
        """Wait until the part is ready. Raises ``TimeoutError`` with its last message."""
        wait_until_ready(inputs)

    def on_update(
        self, olds: FluxReadyInputs, news: FluxReadyInputs, changed: Sequence[str]
    ) -> None:
        """Wait again."""
        wait_until_ready(news)

    def describe(self, olds: FluxReadyInputs, news: FluxReadyInputs) -> str:
        """The message of a preview if the source changes."""
        return source_note(olds.source, news.source) if olds.source and news.source else ""


def source_note(old: FluxSource, new: FluxSource) -> str:
    """A message about what Flux deletes if the source changes; empty if it does not change."""
    values = {
        "flux.url": (old.url, new.url),
        "flux.branch": (old.branch, new.branch),
        "flux.path": (old.path, new.path),
    }
    changes = [f"{name}: {was} → {will}" for name, (was, will) in values.items() if was != will]
    if not changes:
        return ""
    policies = {old.reclaim_policy, new.reclaim_policy}
    if policies == {"retain"}:
        effect = (
            "their volumes and data stay in Longhorn, released (longhorn.reclaim_policy: retain)"
        )
    elif policies == {"delete"}:
        effect = "Longhorn deletes their data (longhorn.reclaim_policy: delete)"
    else:
        effect = (
            f"longhorn.reclaim_policy changes from {old.reclaim_policy} to "
            f"{new.reclaim_policy}, but each volume has the policy with which it was created. "
            "`delete`: Longhorn deletes its data. `retain`: it stays in Longhorn, released"
        )
    return (
        f"{', '.join(changes)}. Flux deletes everything that it applied and that is not in the new "
        f"source, including persistent volume claims. Data of deleted claims: {effect}."
    )


def wait_until_ready(inputs: FluxReadyInputs) -> None:
    """Wait until the part is ready.

    Raises ``TimeoutError`` with Flux's last message after ``READY_TIMEOUT_S``.
    """
    api, part = ClusterApi.of(inputs.kubeconfig), inputs.part

    def check() -> None:
        try:
            found = api.get(flux_health.PARTS[part])
        except KubernetesError as error:
            raise NotYet(str(error)) from None
        if not flux_health.is_ready(found):
            raise NotYet(flux_health.sentence(found))

    def timeout_error(last_message: str) -> TimeoutError:
        return TimeoutError(
            f"{inputs.wanted} after {READY_TIMEOUT_S[part]} s: {last_message}. {_FIXES[part]}, "
            "then run `up` again: it continues from here."
        )

    wait_until(check, READY_TIMEOUT_S[part], timeout_error)


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
        """Uninstall Flux. Raises ``TimeoutError`` or ``KubernetesError``."""
        uninstall_flux(ClusterApi.of(inputs.kubeconfig), inputs.namespace)


def uninstall_flux(api: ClusterApi, namespace: str) -> None:
    """Stop the controllers in ``namespace``, then delete all objects and kinds of Flux.

    Raises ``TimeoutError`` with the objects that are left after ``STEP_TIMEOUT_S`` seconds, and
    ``KubernetesError`` if the API does not answer. It can be repeated.
    """
    stop_controllers(api, namespace)
    delete_kinds(api)
    for path in _ROLES:
        for role in api.items(f"{path}?{_OPERATOR_SELECTOR}"):
            api.delete(f"{path}/{role['metadata']['name']}")


def stop_controllers(api: ClusterApi, namespace: str) -> None:
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
        if waited_s >= _GRACE_S:
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


def _kinds(api: ClusterApi) -> list[Object]:
    return [kind for kind in api.items(KINDS) if kind["spec"]["group"].endswith(_GROUPS)]


def _objects(api: ClusterApi, kind: Object) -> Iterator[tuple[str, Object]]:
    """Every object of a kind, in all namespaces, with its path."""
    spec = kind["spec"]
    version = next(it["name"] for it in spec["versions"] if it["storage"])
    base, plural = f"/apis/{spec['group']}/{version}", spec["names"]["plural"]
    for it in api.items(f"{base}/{plural}"):
        metadata = it["metadata"]
        scope = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
        yield f"{base}/{scope}{plural}/{metadata['name']}", it


def _poll_until_none(failure: str, list_objects: Callable[[], list[Object]]) -> Iterator[float]:
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
        time.sleep(_INTERVAL_S)
