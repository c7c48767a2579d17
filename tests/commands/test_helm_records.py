"""Helm's records of releases that are not in the Pulumi state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clients.kubernetes.api import ClusterApi, KubernetesError
from commands import helm_records
from commands.helm_records import Release
from settings.resource_types import PROVIDER

RECORD = "/api/v1/namespaces/traefik/secrets/sh.helm.release.v1.traefik.v1"


class Api(ClusterApi):
    """A Kubernetes API with one Helm record."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def items(self, path: str) -> list[dict[str, Any]]:
        wanted = "/api/v1/namespaces/traefik/secrets?labelSelector=owner%3Dhelm%2Cname%3Dtraefik"
        return [{"metadata": {"name": RECORD.rpartition("/")[2]}}] if path == wanted else []

    def delete(self, path: str, **options: Any) -> None:
        self.deleted.append(path)


def test_a_record_is_found_and_only_that_record_is_deleted() -> None:
    api = Api()
    assert helm_records.knows(api, Release("traefik", "traefik"))
    assert not helm_records.knows(api, Release("metallb", "metallb-system"))
    helm_records.forget(api, Release("metallb", "metallb-system"))
    assert api.deleted == []
    helm_records.forget(api, Release("traefik", "traefik"))
    assert api.deleted == [RECORD]


@pytest.mark.parametrize("answers", [True, False])
def test_the_api_is_opened_with_the_kubeconfig_of_the_state(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    class AnsweringApi(Api):
        def get(self, path: str) -> dict[str, Any] | None:
            if not answers:
                raise KubernetesError("GET /", "https://vip:6443", "no answer in time")
            return {}

    def of(text: str) -> ClusterApi:
        assert text == "a kubeconfig"
        return AnsweringApi()

    monkeypatch.setattr(ClusterApi, "of", of)
    raw = {"4dabf18193072939515e22adb298388d": "secret", "plaintext": json.dumps("a kubeconfig")}
    resources: list[dict[str, Any]] = [
        {"type": "x"},
        {"type": PROVIDER, "inputs": {"kubeconfig": raw}},
    ]
    assert (helm_records.api_of(resources) is not None) is answers
    assert helm_records.api_of(resources[:1]) is None
