"""The resources of Flux: the messages of their waits, and the removal of Flux."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from clients import wait
from clients.kubernetes.api import ClusterApi, KubernetesError
from lifecycle import flux
from tests.clients.kubernetes.test_flux_health import condition


def test_the_timeout_message_ends_with_the_last_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [
            KubernetesError("GET /", "https://vip:6443", "refused"),
            None,
            condition("False", "authentication required"),
        ]
    )

    class Api(Cluster):
        def get(self, path: str) -> dict[str, Any] | None:
            answer = next(answers)
            if isinstance(answer, KubernetesError):
                raise answer
            return answer

    monkeypatch.setattr(ClusterApi, "of", lambda _: Api())
    advance_clock(monkeypatch, wait, 140)
    inputs = flux.FluxReadyInputs(
        part="source", wanted="Flux cannot read branch main of X", kubeconfig=""
    )
    with pytest.raises(TimeoutError) as raised:
        flux.wait_until_ready(inputs)
    assert str(raised.value) == (
        "Flux cannot read branch main of X after 300 s: not ready: authentication required. Check "
        "flux.url, flux.branch and the key or token that goes with them, then run `up` again: it "
        "continues from here."
    )


def test_up_waits_again_for_another_branch_but_not_for_a_new_kubeconfig() -> None:
    provider = flux.FluxReadyProvider()
    old = {"part": "source", "wanted": "branch main", "kubeconfig": "old"}
    assert provider.diff("", old, old | {"kubeconfig": "new"}).changes is False
    assert provider.diff("", old, old | {"wanted": "branch home"}).changes is True


def source(**changes: str) -> dict[str, str]:
    return {"url": "u", "branch": "main", "path": "./a", "reclaim_policy": "retain"} | changes


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (source(), source(), False),
        (source(), source(path="./b"), True),
        (source(), source(reclaim_policy="delete"), False),
    ],
)
def test_a_preview_of_another_path_says_that_flux_deletes_the_old_objects(
    old: Any, new: Any, changes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    provider, props = (
        flux.FluxReadyProvider(),
        {"part": "source", "wanted": "branch main"},
    )
    assert provider.diff("", props | {"source": old}, props | {"source": new}).changes is changes
    out = capsys.readouterr().out
    assert out.startswith("flux.path: ./a → ./b. Flux deletes everything") if changes else not out


# Removal ------------------------------------------------------------------------------------------

GROUP, NAMESPACE = "kustomize.toolkit.fluxcd.io", "flux-system"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
OBJECTS = f"/apis/{GROUP}/v1/kustomizations"


class Cluster(ClusterApi):
    """A cluster with Flux: the objects that the removal reads and deletes."""

    def __init__(self, *, pods_obey: bool = True) -> None:
        self.deployments, self.pods, self.roles = ["kustomize-controller"], ["pod"], ["flux-edit"]
        self.pods_obey = pods_obey
        """Whether pods end after their Deployment was deleted."""
        self.finalizers: dict[str, list[str]] = {"flux-system": ["x"], "hello": ["x"]}
        self.kinds = {"kustomizations": GROUP, "certificates": "cert-manager.io"}
        self.deleted: list[str] = []

    def items(self, path: str) -> list[dict[str, Any]]:
        path = path.partition("?")[0]
        if path == flux.KINDS:
            return [
                {
                    "metadata": {"name": f"{plural}.{group}"},
                    "spec": {
                        "group": group,
                        "names": {"plural": plural},
                        "versions": [
                            {"name": "v1beta2", "storage": False},
                            {"name": "v1", "storage": True},
                        ],
                    },
                }
                for plural, group in self.kinds.items()
            ]
        if path == OBJECTS:
            if self.pods:  # a running controller adds its finalizers again
                self.finalizers = {name: ["x"] for name in self.finalizers}
            return [
                {"metadata": {"namespace": name, "name": name, "finalizers": finalizers}}
                for name, finalizers in self.finalizers.items()
            ]
        names = {PODS: self.pods, DEPLOYMENTS: self.deployments, ROLES: self.roles}.get(path, [])
        return [{"metadata": {"name": name}} for name in names]

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        assert change == {"metadata": {"finalizers": None}}
        self.finalizers[path.rpartition("/")[2]] = []
        if f"kustomizations.{GROUP}" in self.deleted and not any(self.finalizers.values()):
            self.kinds.pop("kustomizations", None)

    def delete(self, path: str, **options: Any) -> None:
        self.deleted.append(path.rpartition("/")[2])
        if path.startswith(DEPLOYMENTS):
            self.deployments = []
            self.pods = self.pods if not self.pods_obey else []
        if path.startswith(PODS) and options == {"gracePeriodSeconds": 0}:
            self.pods = []
        if path.startswith(ROLES):
            self.roles = []


def advance_clock(monkeypatch: pytest.MonkeyPatch, module: Any, seconds: int) -> None:
    """Let the clock of ``module`` advance by ``seconds`` at each read, without real waiting."""
    clock: Iterator[int] = itertools.count(0, seconds)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


@pytest.mark.parametrize("pods_obey", [True, False], ids=["pods end", "pods do not end"])
def test_the_removal_deletes_all_of_flux_and_nothing_else(
    pods_obey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance_clock(monkeypatch, flux, 10)
    cluster = Cluster(pods_obey=pods_obey)
    flux.uninstall_flux(cluster, NAMESPACE)
    assert cluster.kinds == {"certificates": "cert-manager.io"}
    assert cluster.roles == cluster.pods == cluster.deployments == []
    assert cluster.finalizers == {"flux-system": [], "hello": []}
    flux.uninstall_flux(cluster, NAMESPACE)  # a second run does no harm


def test_the_removal_ends_although_kubernetes_creates_pods_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance_clock(monkeypatch, flux, 10)

    class Late(Cluster):
        """A cluster that creates a deleted Deployment again, twice, and pods of a Deployment."""

        recreations = 2

        def items(self, path: str) -> list[dict[str, Any]]:
            if path == PODS and not self.pods and self.recreations:
                self.recreations -= 1
                self.deployments, self.pods = ["kustomize-controller"], ["pod-2"]
            elif path == PODS and self.deployments:
                self.pods = ["pod-3"]
            return super().items(path)

    cluster = Late()
    flux.uninstall_flux(cluster, NAMESPACE)
    assert cluster.kinds == {"certificates": "cert-manager.io"}
    assert cluster.pods == cluster.deployments == []


def test_a_removal_without_progress_ends_with_the_remaining_pods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance_clock(monkeypatch, flux, 50)

    class UndeletableCluster(Cluster):
        def delete(self, path: str, **options: Any) -> None:
            """Deletes nothing."""

    with pytest.raises(TimeoutError, match="pods of Flux still exist after 120 s: pod"):
        flux.uninstall_flux(UndeletableCluster(), NAMESPACE)


def test_a_renewed_kubeconfig_is_stored_for_the_removal() -> None:
    provider = flux.FluxUninstallProvider()
    old = {"kubeconfig": "old", "namespace": NAMESPACE}
    new = old | {"kubeconfig": "new", "__provider": "code"}
    assert provider.diff("", old, old).changes is False
    assert provider.diff("", old, new).changes is True
    assert provider.update("", old, new).outs == old | {"kubeconfig": "new"}


def test_the_deletion_of_the_resource_uninstalls_flux(monkeypatch: pytest.MonkeyPatch) -> None:
    advance_clock(monkeypatch, flux, 10)
    cluster = Cluster()
    apis = {"stored": cluster}
    monkeypatch.setattr(ClusterApi, "of", apis.__getitem__)
    flux.FluxUninstallProvider().delete("", {"kubeconfig": "stored", "namespace": NAMESPACE})
    assert cluster.kinds == {"certificates": "cert-manager.io"} and cluster.roles == []
