"""Flux: the resources of the component and the data of its Secrets."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pulumi
import pytest
import trustme

from components import flux
from rehearsal.record import Recording
from tests.components.charts import KEYS, key_paths
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
    assert set(key_paths(flux.VALUES)) <= known
