"""The client of the Kubernetes API: what it sends, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from clients.kubernetes.api import ApiError, ClusterApi
from tests.lifecycle.test_readiness import Api, api

__all__ = ["api"]  # the server, which wants a client certificate


@pytest.fixture
def asked(api: Api) -> list[tuple[str, str, str | None, Any]]:
    """What the server was asked: method, path, content type and body."""
    found: list[tuple[str, str, str | None, Any]] = []
    handler = api.server.RequestHandlerClass
    answer = handler.do_GET  # type: ignore[attr-defined]

    def note(self: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get("Content-Type")
        found.append((self.command, self.path, kind, json.loads(body or "null")))
        answer(self)

    for method in ("GET", "PATCH", "DELETE"):
        setattr(handler, f"do_{method}", note)
    return found


@pytest.fixture
def cluster(api: Api) -> Iterator[ClusterApi]:
    """A client made of a kubeconfig, as Talos writes one."""
    props = api.props["credentials"]
    user = {
        "client-certificate-data": props["client_certificate"],
        "client-key-data": props["client_key"],
    }
    authority = {
        "server": api.props["endpoint"],
        "certificate-authority-data": props["ca_certificate"],
    }
    yield ClusterApi.of(
        yaml.safe_dump({"clusters": [{"cluster": authority}], "users": [{"user": user}]})
    )


def test_each_verb_is_sent_as_the_api_wants_it(
    api: Api, cluster: ClusterApi, asked: list[Any]
) -> None:
    api.body = {"items": [{"metadata": {"name": "one"}}]}
    assert cluster.items("/api/v1/pods") == [{"metadata": {"name": "one"}}]
    cluster.merge("/api/v1/pods/one", {"metadata": {"finalizers": None}})
    cluster.delete("/api/v1/pods/one", gracePeriodSeconds=0)
    (get, merge, delete) = asked
    assert get == ("GET", "/api/v1/pods", "application/json", None)
    assert merge[2:] == ("application/merge-patch+json", {"metadata": {"finalizers": None}})
    assert delete[0] == "DELETE"
    assert delete[3]["kind"] == "DeleteOptions" and delete[3]["gracePeriodSeconds"] == 0


def test_what_is_not_there_is_nothing(api: Api, cluster: ClusterApi, asked: list[Any]) -> None:
    api.status = 404
    assert cluster.get("/api/v1/pods/one") is None
    assert cluster.items("/apis/fluxcd.controlplane.io/v1/fluxinstances") == []
    cluster.delete("/api/v1/pods/one")


def test_any_other_refusal_is_an_error(api: Api, cluster: ClusterApi) -> None:
    api.status, api.body = 403, {"message": "pods is forbidden"}
    with pytest.raises(ApiError, match="answers 403 Forbidden: pods is forbidden") as raised:
        cluster.get("/api/v1/pods")
    assert raised.value.code == 403
    api.body = ["no status"]
    with pytest.raises(ApiError, match="^the Kubernetes API answers 403 Forbidden$"):
        cluster.get("/api/v1/pods")


@pytest.mark.parametrize(
    "text",
    ["", "no: kubeconfig", "[1", "clusters: [{cluster: {}}]", "clusters: 1\nusers: open sesame"],
)
def test_a_kubeconfig_that_cannot_be_read_is_not_quoted(text: str) -> None:
    with pytest.raises(ApiError) as raised:
        ClusterApi.of(text)
    assert str(raised.value) == "the kubeconfig cannot be read"
