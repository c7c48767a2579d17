"""Flux: what is asked for, what its waits say, and that its removal ends."""

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
from lifecycle import flux_ready, flux_uninstall
from rehearsal.record import Recording
from tests.components.test_charts import KEYS, _keys
from tests.recorder import one, record, sent, settings_with

AGE_KEY = "AGE-SECRET-KEY-1QSSQF9ELQ8F9NP7E2R04C482LASL8WNM5SW0ZUKG2NZAYDSNE69S9X5ML4"
SSH_KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"


def built(**settings: Any) -> Recording:
    """What the component asks for."""
    found = settings_with(**settings)

    def build() -> object:
        providers = [
            pulumi.ProviderResource(package, package, {})
            for package in ("kubernetes", "pulumi-python")
        ]
        args = flux.FluxArgs.of(found, "kubeconfig", after=[])
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
    """What a Secret holds, as Kubernetes hands it to a pod."""
    inputs = sent(one(recording, name))
    assert "stringData" not in inputs  # Kubernetes stores data alone
    return {key: b64decode(text).decode() for key, text in inputs["data"].items()}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets of these settings stand in plain text, which is warned of."""
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)


# What is asked for --------------------------------------------------------------------------------


def test_a_server_that_signs_for_itself_is_trusted_by_its_certificate() -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    private = {"url": "https://git.home.arpa/me/x.git", "token": "5eed1e55", "certificate": pem}
    for settings in (private, {key: it for key, it in private.items() if key != "token"}):
        recording = built(flux=settings)
        assert spec(recording, "flux-source")["secretRef"] == {"name": "castle-git"}
        data = opened(recording, "flux-castle-git")
        assert data.pop("ca.crt") == pem.strip()
        assert data == ({"username": "git", "password": "5eed1e55"} if "token" in settings else {})


def test_a_repository_over_ssh_is_followed_with_its_key_and_decrypted() -> None:
    recording = built(flux=OVER_SSH, sops={"age_key": AGE_KEY})
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
    # Flux reads what ends with .agekey.
    assert opened(recording, "flux-sops-age") == {"castle.agekey": AGE_KEY}


def test_a_token_goes_with_a_user_name() -> None:
    recording = built(
        flux={"url": "https://git.tazlab.net/m.git", "username": "me", "token": "abc"}
    )
    assert opened(recording, "flux-castle-git") == {
        "username": "me",
        "password": "abc",
    }


def test_a_public_repository_needs_no_secret_at_all() -> None:
    recording = built(flux={"url": "https://github.com/me/manifests.git"})
    assert [it.name for it in recording.of_type("kubernetes:core/v1:Secret")] == []
    assert "secretRef" not in spec(recording, "flux-source")
    assert "decryption" not in spec(recording, "flux-kustomization")


def test_the_options_of_a_caller_stay_as_they_are() -> None:
    opts = pulumi.ResourceOptions(depends_on=[])
    before = dict(vars(opts))

    def build() -> object:
        providers = [
            pulumi.ProviderResource(package, package, {})
            for package in ("kubernetes", "pulumi-python")
        ]
        args = flux.FluxArgs.of(settings_with(flux=OVER_SSH), "kubeconfig", after=[])
        component = flux.Flux("flux", args, pulumi.ResourceOptions(providers=providers))
        return component._object("other", "v1", "GitRepository", "other", {}, opts)

    other = one(record(build), "other")
    assert other.parent
    assert other.custom_timeouts == {"create": "5m", "update": "5m", "delete": "5m"}
    assert vars(opts) == before


def test_what_was_applied_stays_when_its_kustomization_goes() -> None:
    applied = spec(built(flux=OVER_SSH), "flux-kustomization")
    assert applied["prune"] is True
    assert applied["deletionPolicy"] == "Orphan"


def test_the_operators_own_flux_is_installed_and_no_other_is_fetched() -> None:
    assert "artifact" not in flux.instance_spec()["distribution"]


def test_the_chart_knows_every_key() -> None:
    known = set((KEYS / "flux-operator-0.49.0.txt").read_text(encoding="utf-8").split())
    assert set(_keys(flux.VALUES)) <= known


# How it is doing ----------------------------------------------------------------------------------


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
        # Of the address before this one.
        (condition("True", "stored artifact", generation=0), "ready: stored artifact", False),
        ({"metadata": {}}, "not processed by Flux yet", False),
        (None, "missing", False),
    ],
)
def test_health_is_what_flux_says(found: Any, sentence: str, ready: bool) -> None:
    assert flux_health.sentence(found) == sentence
    assert flux_health.is_ready(found) is ready


def test_a_cluster_that_cannot_be_asked_is_no_error() -> None:
    health = flux_health.look("no: kubeconfig")
    assert health == dict.fromkeys(
        ("controllers", "source", "applied"), "unknown: the kubeconfig cannot be read"
    )


def test_a_wait_ends_with_what_flux_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([ApiError("refused"), None, condition("False", "authentication required")])

    class Api(Cluster):
        def get(self, path: str) -> dict[str, Any] | None:
            found = next(said)
            if isinstance(found, ApiError):
                raise found
            return found

    monkeypatch.setattr(ClusterApi, "of", lambda _: Api())
    passing(monkeypatch, wait, 140)
    props = {"part": "source", "wanted": "Flux cannot read branch main of X", "kubeconfig": ""}
    with pytest.raises(TimeoutError) as raised:
        flux_ready.wait(props)
    assert str(raised.value) == (
        "Flux cannot read branch main of X after 300 s: not ready: authentication required. Check "
        "flux.url, flux.branch and the key or token that goes with them, then run `up` again: it "
        "continues from here."
    )


def test_a_wait_begins_again_for_another_repository_and_not_for_a_new_kubeconfig() -> None:
    provider = flux_ready.FluxReadyProvider()
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
        (None, source(), False),  # a state of an older version of this program
    ],
)
def test_a_preview_says_what_flux_deletes_in_another_place(
    old: Any, new: Any, changes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    provider, props = flux_ready.FluxReadyProvider(), {"part": "source", "wanted": "branch main"}
    olds = props | ({"source": old} if old else {})
    assert provider.diff("", olds, props | {"source": new}).changes is changes
    told = capsys.readouterr().out
    assert told.startswith("flux.path: ./a → ./b. Flux deletes everything") if changes else not told


# Its removal --------------------------------------------------------------------------------------

GROUP, NAMESPACE = "kustomize.toolkit.fluxcd.io", "flux-system"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
OBJECTS = f"/apis/{GROUP}/v1/kustomizations"


class Cluster(ClusterApi):
    """A cluster with Flux in it, as far as its removal looks."""

    def __init__(self, *, pods_obey: bool = True) -> None:
        self.deployments, self.pods, self.roles = ["kustomize-controller"], ["pod"], ["flux-edit"]
        self.pods_obey = pods_obey
        """Whether pods end by themselves once their Deployment is gone."""
        self.finalizers: dict[str, list[str]] = {"flux-system": ["x"], "hello": ["x"]}
        self.kinds = {"kustomizations": GROUP, "certificates": "cert-manager.io"}
        self.deleted: list[str] = []

    def items(self, path: str) -> list[dict[str, Any]]:
        path = path.partition("?")[0]
        if path == flux_uninstall.KINDS:
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
            if self.pods:  # a controller that lives puts its finalizers on again
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


def passing(monkeypatch: pytest.MonkeyPatch, module: Any, seconds: int) -> None:
    """Let each look take so many seconds, and no time of ours."""
    clock: Iterator[int] = itertools.count(0, seconds)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


@pytest.mark.parametrize("pods_obey", [True, False], ids=["alive", "stuck"])
def test_a_removal_takes_all_of_flux_and_nothing_else(
    pods_obey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing(monkeypatch, flux_uninstall, 10)
    cluster = Cluster(pods_obey=pods_obey)
    flux_uninstall.uninstall(cluster, NAMESPACE)
    assert cluster.kinds == {"certificates": "cert-manager.io"}
    assert cluster.roles == cluster.pods == cluster.deployments == []
    assert cluster.finalizers == {"flux-system": [], "hello": []}
    flux_uninstall.uninstall(cluster, NAMESPACE)  # and can be run again


def test_a_removal_ends_though_kubernetes_makes_a_workload_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passing(monkeypatch, flux_uninstall, 10)

    class Late(Cluster):
        """Its controllers hear of the end of a Deployment after its ReplicaSet is gone, too."""

        revivals = 2

        def items(self, path: str) -> list[dict[str, Any]]:
            if path == PODS and not self.pods and self.revivals:
                self.revivals -= 1
                self.deployments, self.pods = ["kustomize-controller"], ["pod-2"]
            elif path == PODS and self.deployments:
                self.pods = ["pod-3"]  # one that is deleted alone is made again
            return super().items(path)

    cluster = Late()
    flux_uninstall.uninstall(cluster, NAMESPACE)
    assert cluster.kinds == {"certificates": "cert-manager.io"}
    assert cluster.pods == cluster.deployments == []


def test_a_removal_that_gets_nowhere_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    passing(monkeypatch, flux_uninstall, 50)

    class Undying(Cluster):
        def delete(self, path: str, **options: Any) -> None:
            """Nothing goes."""

    with pytest.raises(TimeoutError, match="pods of Flux still exist after 120 s: pod"):
        flux_uninstall.uninstall(Undying(), NAMESPACE)


def test_a_renewed_kubeconfig_is_kept_for_the_removal() -> None:
    provider = flux_uninstall.FluxUninstallProvider()
    old = {"kubeconfig": "old", "namespace": NAMESPACE}
    new = old | {"kubeconfig": "new", "__provider": "code"}
    assert provider.diff("", old, old).changes is False
    assert provider.diff("", old, new).changes is True
    assert provider.update("", old, new).outs == old | {"kubeconfig": "new"}
