"""Flux: its resources, the messages of its waits, its health, and its removal."""

from __future__ import annotations

import itertools
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
import pytest
import trustme

from clients import wait
from clients.kubernetes import flux_health
from clients.kubernetes.api import ApiError, ClusterApi
from components import flux
from lifecycle import flux as flux_resources
from rehearsal.record import Recording
from tests.components.test_charts import KEYS, _keys
from tests.recorder import one, record, sent, settings_with

AGE_KEY = "AGE-SECRET-KEY-1QSSQF9ELQ8F9NP7E2R04C482LASL8WNM5SW0ZUKG2NZAYDSNE69S9X5ML4"
SSH_KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"


def flux_with(**changes: Any) -> Recording:
    """Record the resources of the component."""
    settings = settings_with(**changes)

    def build() -> object:
        providers = [
            pulumi.ProviderResource(package, package, {})
            for package in ("kubernetes", "pulumi-python")
        ]
        args = flux.FluxArgs.of(settings, "kubeconfig", after=[])
        return flux.Flux("flux", args, pulumi.ResourceOptions(providers=providers))

    return record(build)


OVER_SSH = {
    "url": "ssh://git@git.tazlab.net/me/manifests.git",
    "deploy_key": SSH_KEY,
    "known_hosts": "git.tazlab.net ssh-ed25519 AAAAC3Nz",
    "branch": "home",
    "path": "apps",
    "interval": "5m",
}


def spec(recording: Recording, name: str) -> dict[str, Any]:
    found: dict[str, Any] = sent(one(recording, name))["spec"]
    return found


def opened(recording: Recording, name: str) -> dict[str, str]:
    """The decoded data of a Secret."""
    inputs = sent(one(recording, name))
    assert "stringData" not in inputs  # it would show a permanent diff
    return {key: b64decode(text).decode() for key, text in inputs["data"].items()}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suppress the warning that the secrets of these settings are in plain text."""
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)


# Resources ----------------------------------------------------------------------------------------


def test_the_certificate_of_a_self_signed_git_server_is_in_the_secret() -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    private = {"url": "https://git.home.arpa/me/x.git", "token": "5eed1e55", "certificate": pem}
    for settings in (private, {key: it for key, it in private.items() if key != "token"}):
        recording = flux_with(flux=settings)
        assert spec(recording, "flux-source")["secretRef"] == {"name": "castle-git"}
        data = opened(recording, "flux-castle-git")
        assert data.pop("ca.crt") == pem.strip()
        assert data == ({"username": "git", "password": "5eed1e55"} if "token" in settings else {})


def test_a_repository_over_ssh_has_its_deploy_key_and_the_age_key() -> None:
    recording = flux_with(flux=OVER_SSH, sops={"age_key": AGE_KEY})
    source, applied = spec(recording, "flux-source"), spec(recording, "flux-kustomization")
    assert source["url"] == OVER_SSH["url"]
    assert source["ref"] == {"branch": "home"}
    assert source["interval"] == "5m"
    assert source["secretRef"] == {"name": "castle-git"}
    assert opened(recording, "flux-castle-git") == {
        "identity": f"{SSH_KEY}\n",
        "known_hosts": OVER_SSH["known_hosts"],
    }
    assert applied["path"] == "./apps"
    assert applied["decryption"] == {"provider": "sops", "secretRef": {"name": "sops-age"}}
    # Flux reads only keys of the Secret that end with .agekey.
    assert opened(recording, "flux-sops-age") == {"castle.agekey": AGE_KEY}


def test_a_token_is_stored_with_its_user_name() -> None:
    recording = flux_with(
        flux={"url": "https://git.tazlab.net/m.git", "username": "me", "token": "abc"}
    )
    assert opened(recording, "flux-castle-git") == {
        "username": "me",
        "password": "abc",
    }


def test_a_public_repository_needs_no_secret() -> None:
    recording = flux_with(flux={"url": "https://github.com/me/manifests.git"})
    assert [it.name for it in recording.of_type("kubernetes:core/v1:Secret")] == []
    assert "secretRef" not in spec(recording, "flux-source")
    assert "decryption" not in spec(recording, "flux-kustomization")


def test_resource_options_of_the_caller_are_not_changed() -> None:
    changes: list[str] = []

    def build() -> object:
        providers = [
            pulumi.ProviderResource(package, package, {})
            for package in ("kubernetes", "pulumi-python")
        ]
        opts = pulumi.ResourceOptions(providers=providers, depends_on=[])
        before = dict(vars(opts))
        args = flux.FluxArgs.of(settings_with(flux=OVER_SSH), "kubeconfig", after=[])
        component = flux.Flux("flux", args, opts)
        changes.extend(key for key, value in vars(opts).items() if value != before[key])
        return component

    instance = one(record(build), "flux-instance")
    assert instance.custom_timeouts == {"create": "5m", "update": "5m", "delete": "5m"}
    assert changes == []


def test_applied_objects_are_not_deleted_with_their_kustomization() -> None:
    applied = spec(flux_with(flux=OVER_SSH), "flux-kustomization")
    assert applied["prune"] is True
    assert applied["deletionPolicy"] == "Orphan"


def test_the_operator_installs_the_flux_of_its_own_image() -> None:
    assert "artifact" not in flux.instance_spec()["distribution"]


def test_the_chart_has_every_key() -> None:
    known = set((KEYS / "flux-operator-0.49.0.txt").read_text(encoding="utf-8").split())
    assert set(_keys(flux.VALUES)) <= known


# Health -------------------------------------------------------------------------------------------


def condition(status: str, message: str, generation: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"generation": 1},
        "status": {
            "conditions": [
                {
                    "type": "Ready",
                    "status": status,
                    "message": message,
                    "observedGeneration": generation,
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("found", "sentence", "ready"),
    [
        (condition("True", "stored artifact"), "ready: stored artifact", True),
        (condition("False", "no such branch"), "not ready: no such branch", False),
        (condition("Unknown", "fetching"), "in progress: fetching", False),
        # The condition belongs to an older generation, so to the previous URL.
        (condition("True", "stored artifact", generation=0), "ready: stored artifact", False),
        ({"metadata": {}}, "not processed by Flux yet", False),
        (None, "missing", False),
    ],
)
def test_health_is_read_from_the_ready_condition(found: Any, sentence: str, ready: bool) -> None:
    assert flux_health.sentence(found) == sentence
    assert flux_health.is_ready(found) is ready


def test_health_is_unknown_if_the_cluster_cannot_be_read() -> None:
    health = flux_health.look("no: kubeconfig")
    assert health == dict.fromkeys(
        ("controllers", "source", "applied"), "unknown: the kubeconfig cannot be read"
    )


def test_the_timeout_message_ends_with_the_last_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ApiError("refused"), None, condition("False", "authentication required")])

    class Api(Cluster):
        def get(self, path: str) -> dict[str, Any] | None:
            answer = next(answers)
            if isinstance(answer, ApiError):
                raise answer
            return answer

    monkeypatch.setattr(ClusterApi, "of", lambda _: Api())
    advance_clock(monkeypatch, wait, 140)
    inputs = flux_resources.FluxReadyInputs(
        part="source", wanted="Flux cannot read branch main of X", kubeconfig=""
    )
    with pytest.raises(TimeoutError) as raised:
        flux_resources.wait_until_ready(inputs)
    assert str(raised.value) == (
        "Flux cannot read branch main of X after 300 s: not ready: authentication required. Check "
        "flux.url, flux.branch and the key or token that goes with them, then run `up` again: it "
        "continues from here."
    )


def test_up_waits_again_for_another_branch_but_not_for_a_new_kubeconfig() -> None:
    provider = flux_resources.FluxReadyProvider()
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
        flux_resources.FluxReadyProvider(),
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
        if path == flux_resources.KINDS:
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
    advance_clock(monkeypatch, flux_resources, 10)
    cluster = Cluster(pods_obey=pods_obey)
    flux_resources.uninstall_flux(cluster, NAMESPACE)
    assert cluster.kinds == {"certificates": "cert-manager.io"}
    assert cluster.roles == cluster.pods == cluster.deployments == []
    assert cluster.finalizers == {"flux-system": [], "hello": []}
    flux_resources.uninstall_flux(cluster, NAMESPACE)  # a second run does no harm


def test_the_removal_ends_although_kubernetes_creates_pods_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance_clock(monkeypatch, flux_resources, 10)

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
    flux_resources.uninstall_flux(cluster, NAMESPACE)
    assert cluster.kinds == {"certificates": "cert-manager.io"}
    assert cluster.pods == cluster.deployments == []


def test_a_removal_without_progress_ends_with_the_remaining_pods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance_clock(monkeypatch, flux_resources, 50)

    class UndeletableCluster(Cluster):
        def delete(self, path: str, **options: Any) -> None:
            """Deletes nothing."""

    with pytest.raises(TimeoutError, match="pods of Flux still exist after 120 s: pod"):
        flux_resources.uninstall_flux(UndeletableCluster(), NAMESPACE)


def test_a_renewed_kubeconfig_is_stored_for_the_removal() -> None:
    provider = flux_resources.FluxUninstallProvider()
    old = {"kubeconfig": "old", "namespace": NAMESPACE}
    new = old | {"kubeconfig": "new", "__provider": "code"}
    assert provider.diff("", old, old).changes is False
    assert provider.diff("", old, new).changes is True
    assert provider.update("", old, new).outs == old | {"kubeconfig": "new"}
