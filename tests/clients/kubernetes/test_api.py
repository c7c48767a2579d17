"""The client of the Kubernetes API: its requests, and its results for each answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from clients.errors import OperationError
from clients.kubernetes import api as kubernetes_api
from clients.kubernetes.api import ClusterApi, KubernetesError, RetryingApi
from tests.lifecycle.test_readiness import Api, api

__all__ = ["api"]  # fixture: a server that requires a client certificate


@pytest.fixture
def requests(api: Api) -> list[tuple[str, str, str | None, Any]]:
    """The requests to the server: method, path, content type and body."""
    recorded: list[tuple[str, str, str | None, Any]] = []
    handler = api.server.RequestHandlerClass
    answer = handler.do_GET  # type: ignore[attr-defined]

    def record(self: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content_type = self.headers.get("Content-Type")
        recorded.append((self.command, self.path, content_type, json.loads(body or "null")))
        answer(self)

    for method in ("GET", "PATCH", "DELETE"):
        setattr(handler, f"do_{method}", record)
    return recorded


@pytest.fixture
def cluster(api: Api) -> Iterator[ClusterApi]:
    """A client created from a kubeconfig like that of Talos."""
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


def test_get_merge_and_delete_send_valid_requests(
    api: Api, cluster: ClusterApi, requests: list[Any]
) -> None:
    api.body = {"items": [{"metadata": {"name": "one"}}]}
    assert cluster.items("/api/v1/pods") == [{"metadata": {"name": "one"}}]
    cluster.merge("/api/v1/pods/one", {"metadata": {"finalizers": None}})
    cluster.delete("/api/v1/pods/one", gracePeriodSeconds=0)
    (get, merge, delete) = requests
    assert get == ("GET", "/api/v1/pods", "application/json", None)
    assert merge[2:] == ("application/merge-patch+json", {"metadata": {"finalizers": None}})
    assert delete[0] == "DELETE"
    assert delete[3]["kind"] == "DeleteOptions" and delete[3]["gracePeriodSeconds"] == 0


def test_a_missing_object_is_no_error(api: Api, cluster: ClusterApi, requests: list[Any]) -> None:
    api.status = 404
    assert cluster.get("/api/v1/pods/one") is None
    assert cluster.items("/apis/fluxcd.controlplane.io/v1/fluxinstances") == []
    cluster.delete("/api/v1/pods/one")


def test_an_http_error_raises_an_api_error_with_its_message(api: Api, cluster: ClusterApi) -> None:
    api.status, api.body = 403, {"message": "pods is forbidden"}
    with pytest.raises(KubernetesError, match="answers 403 Forbidden: pods is forbidden") as raised:
        cluster.get("/api/v1/pods")
    assert (raised.value.operation, raised.value.status) == ("GET /api/v1/pods", 403)
    api.body = ["no status"]
    with pytest.raises(KubernetesError, match="^the Kubernetes API answers 403 Forbidden$"):
        cluster.get("/api/v1/pods")


@pytest.mark.parametrize(
    "text",
    ["", "no: kubeconfig", "[1", "clusters: [{cluster: {}}]", "clusters: 1\nusers: open sesame"],
)
def test_the_error_for_an_invalid_kubeconfig_does_not_quote_it(text: str) -> None:
    with pytest.raises(OperationError) as raised:
        ClusterApi.of(text)
    assert str(raised.value) == "the kubeconfig cannot be read"


class Answers:
    """Returns or raises the answers in order; repeats the last one."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, *_: Any) -> Any:
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def error(detail: str, status: int | None = None) -> KubernetesError:
    return KubernetesError("GET /", "https://vip:6443", detail, status)


def retrying_api_with(
    monkeypatch: pytest.MonkeyPatch, *answers: Any
) -> tuple[RetryingApi, Answers]:
    found = Answers(*answers)
    monkeypatch.setattr(ClusterApi, "_request", found)
    monkeypatch.setattr(kubernetes_api, "_RETRY_INTERVAL_S", 0)
    return object.__new__(RetryingApi), found


def test_a_request_is_repeated_until_the_api_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = error("no answer in time"), error("unavailable", 503), {"kind": "Node"}
    retrying, found = retrying_api_with(monkeypatch, *answers)
    assert retrying.get("/api/v1/nodes/worker-1") == {"kind": "Node"}
    assert found.calls == 3


def test_a_refused_request_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    retrying, answers = retrying_api_with(monkeypatch, error("forbidden", 403))
    with pytest.raises(KubernetesError, match="forbidden"):
        retrying.post("/api/v1/pods", {})
    assert answers.calls == 1


def test_a_request_for_a_missing_object_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    retrying, answers = retrying_api_with(monkeypatch, error("not found", 404))
    assert retrying.get("/api/v1/nodes/worker-9") is None
    assert answers.calls == 1


def test_the_last_error_is_raised_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_api, "RETRY_TIMEOUT_S", 0)
    retrying, _ = retrying_api_with(monkeypatch, error("no answer in time"))
    with pytest.raises(KubernetesError, match="does not answer"):
        retrying.get("/api/v1/nodes/worker-1")
