"""``ClusterReadiness``: when a node is ready, and the messages if it is not."""

from __future__ import annotations

import base64
import copy
import json
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import trustme

from clients.talos import queries
from clients.talos.errors import TalosError
from clients.talos.queries import Service
from lifecycle import operations
from lifecycle.provider import parse
from lifecycle.readiness import (
    ClusterReadinessInputs,
    ClusterReadinessProvider,
    ExpectedNode,
    LeaseCheck,
    NotReadyError,
    check_node,
    wait_until_ready,
)

EXPECTED = ExpectedNode(address="192.168.1.155", control_plane=False, generation=1)
NODES: dict[str, Any] = {"castle-worker-1": vars(EXPECTED)}
READY: dict[str, Any] = {
    "metadata": {"name": "castle-worker-1", "labels": {}},
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": "192.168.1.155"},
            {"type": "Hostname", "address": "castle-worker-1"},
        ],
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


def test_a_ready_node_at_its_address_is_ready() -> None:
    check_node(READY, EXPECTED)


def test_a_node_with_another_address_is_not_ready() -> None:
    with pytest.raises(NotReadyError, match="has 192.168.1.155, not the address in the settings"):
        check_node(READY, replace(EXPECTED, address="192.168.1.156"))


def test_the_reason_of_an_unready_kubelet_is_shown() -> None:
    node = copy.deepcopy(READY)
    node["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "message": "cni plugin not initialized"}
    ]
    with pytest.raises(NotReadyError, match="not Ready: cni plugin not initialized"):
        check_node(node, EXPECTED)


def test_a_kubelet_that_never_reported_is_not_ready() -> None:
    with pytest.raises(NotReadyError, match="has not reported yet"):
        check_node({**READY, "status": {**READY["status"], "conditions": []}}, EXPECTED)


def test_a_control_plane_needs_its_label() -> None:
    with pytest.raises(NotReadyError, match="label of a control plane"):
        check_node(READY, replace(EXPECTED, control_plane=True))


@pytest.mark.parametrize("old", ["", "2026-11-20T10:00:00.000000Z"])
def test_a_restored_node_is_not_ready_until_its_lease_is_renewed(old: str) -> None:
    check = LeaseCheck()
    for _ in range(2):
        with pytest.raises(NotReadyError, match="has not renewed its lease since the restore"):
            check.require_renewal(old)
    check.require_renewal("2026-11-21T10:00:00.000000Z")


class Api:
    """A Kubernetes API with one answer to every request; it requires a client certificate."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = READY
        self.length = 0
        """``Content-Length`` of the answer if larger than the real length; 0 sends no header."""
        self.paths: list[str] = []
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.paths.append(self.path)
                self.send_response(api.status)
                if api.length:
                    self.send_header("Content-Length", str(api.length))
                self.end_headers()
                self.wfile.write(json.dumps(api.body).encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        client = authority.issue_cert("admin@castle")
        self.props: dict[str, Any] = {
            "nodes": NODES,
            "endpoint": f"https://127.0.0.1:{self.server.server_port}",
            "restored": False,
            "credentials": {
                "ca_certificate": _encoded(authority.cert_pem),
                "client_certificate": _encoded(client.cert_chain_pems[0]),
                "client_key": _encoded(client.private_key_pem),
            },
        }


def _encoded(blob: trustme.Blob) -> str:
    return base64.b64encode(blob.bytes()).decode()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    thread = threading.Thread(target=api.server.serve_forever)
    thread.start()
    yield api
    api.server.shutdown()
    thread.join()
    api.server.server_close()


def wait(api: Api, nodes: dict[str, Any], limit: float) -> None:
    """Wait for nodes with the credentials of the API."""
    inputs = parse(ClusterReadinessInputs, api.props | {"nodes": nodes})
    wait_until_ready(inputs, inputs.nodes, limit)


def test_the_request_uses_the_client_certificate(api: Api) -> None:
    wait(api, NODES, limit=0)
    assert api.paths == ["/api/v1/nodes/castle-worker-1"]


def test_the_error_names_the_node_and_the_last_unmet_condition(api: Api) -> None:
    api.status = 404
    with pytest.raises(TimeoutError) as error:
        wait(api, NODES, limit=0)
    text = str(error.value)
    assert "castle-worker-1 (192.168.1.155) is not ready after 0 s" in text
    assert "it has not joined the cluster yet" in text
    assert "run `up` again" in text


def test_the_wait_repeats_until_the_node_is_ready(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.status = 503

    def next_time(_: float) -> None:
        api.status = 200

    monkeypatch.setattr("clients.wait.time.sleep", next_time)
    wait(api, NODES, limit=60)
    assert len(api.paths) == 2


def test_a_node_of_a_restored_cluster_must_renew_its_lease(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.props["restored"] = True
    api.body = {**READY, "spec": {"renewTime": "before the restore"}}
    with pytest.raises(TimeoutError, match="has not renewed its lease since the restore"):
        wait(api, NODES, limit=0)
    assert api.paths == [
        "/api/v1/nodes/castle-worker-1",
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/castle-worker-1",
    ]

    def next_time(_: float) -> None:
        api.body["spec"]["renewTime"] = "after the restore"

    monkeypatch.setattr("clients.wait.time.sleep", next_time)
    wait(api, NODES, limit=60)


def test_the_error_names_an_api_that_does_not_answer() -> None:
    api = Api()
    api.server.server_close()
    with pytest.raises(
        TimeoutError, match="Kubernetes API at https://127.0.0.1:.* does not answer"
    ):
        wait(api, NODES, limit=0)


def test_create_waits_and_stores_no_secret(api: Api) -> None:
    result = ClusterReadinessProvider().create({**api.props, "__provider": "x"})
    assert result.id == api.props["endpoint"]
    assert result.outs == {"nodes": NODES}
    assert api.paths == ["/api/v1/nodes/castle-worker-1"]


WORKER_2 = {
    "castle-worker-2": {"address": "192.168.1.156", "control_plane": False, "generation": 1}
}


@pytest.mark.parametrize(
    ("nodes", "awaited"),
    [
        (NODES, None),
        (NODES | WORKER_2, ["castle-worker-2"]),
        ({"castle-worker-1": NODES["castle-worker-1"] | {"generation": 2}}, ["castle-worker-1"]),
        (WORKER_2, ["castle-worker-2"]),
        ({}, []),
    ],
    ids=["none", "a new node", "a new generation", "another node", "one less"],
)
def test_only_new_nodes_and_new_generations_are_awaited(
    api: Api, monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Any], awaited: list[str] | None
) -> None:
    monkeypatch.setattr("lifecycle.readiness.check_node", lambda node, expected: None)
    readiness, news = ClusterReadinessProvider(), api.props | {"nodes": nodes}
    olds = {"nodes": {"castle-worker-1": NODES["castle-worker-1"] | {"generation": 1.0}}}
    found = readiness.diff("", olds, news)
    assert (found.changes, found.replaces) == (awaited is not None, [])
    if awaited is not None:
        assert readiness.update("", olds, news).outs == {"nodes": nodes}
        assert api.paths == [f"/api/v1/nodes/{name}" for name in awaited]


def test_renewed_credentials_are_no_update(api: Api) -> None:
    renewed = api.props | {"credentials": {"client_key": "another"}}
    assert ClusterReadinessProvider().diff("", {"nodes": NODES}, renewed).changes is False


def test_the_error_names_all_nodes_that_are_not_ready(api: Api) -> None:
    api.status = 404
    with pytest.raises(TimeoutError) as error:
        wait(api, NODES | WORKER_2, limit=0)
    text = str(error.value)
    assert "castle-worker-1 (192.168.1.155) is not ready" in text
    assert "castle-worker-2 (192.168.1.156) is not ready" in text


def test_a_request_with_a_truncated_answer_is_repeated(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VIP moves while a control plane starts, so a connection may break."""
    api.length = 5000

    def next_time(_: float) -> None:
        api.length = 0

    monkeypatch.setattr("clients.wait.time.sleep", next_time)
    wait(api, NODES, limit=60)
    assert len(api.paths) == 2


@pytest.mark.parametrize(
    ("kubelet", "reason"),
    [
        (
            Service("Waiting", is_healthy=False, message="Waiting for time sync"),
            "its clock is not synchronized; no time server answers .* set `cluster.ntp`",
        ),
        (
            Service("Preparing", is_healthy=False, message="Running pre state"),
            r"Talos reports its kubelet as Preparing \(Running pre state\)",
        ),
    ],
)
def test_the_error_and_a_long_wait_say_what_talos_reports(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kubelet: Service,
    reason: str,
) -> None:
    api.status = 404
    api.props["talos_credentials"] = api.props["credentials"]
    monkeypatch.setattr(queries, "services", lambda *_: {"kubelet": kubelet})
    with pytest.raises(TimeoutError, match=f"has not joined the cluster yet; {reason}"):
        wait(api, NODES, limit=0)

    def join(_: float) -> None:
        api.status = 200

    monkeypatch.setattr(operations, "PROGRESS_S", 0)
    monkeypatch.setattr("clients.wait.time.sleep", join)
    wait(api, NODES, limit=60)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.search(rf"castle-worker-1 \(192.168.1.155\) is not ready: {reason}.*\.", line)


def test_a_node_whose_talos_does_not_answer_or_whose_kubelet_runs_gets_no_reason(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.status = 404
    api.props["talos_credentials"] = api.props["credentials"]
    healthy = Service("Running", is_healthy=True, message="")
    for answer in (TalosError("ServiceList", "192.168.1.155", "refused"), {"kubelet": healthy}):

        def services(*_: object, answer: Any = answer) -> Any:
            if isinstance(answer, TalosError):
                raise answer
            return answer

        monkeypatch.setattr(queries, "services", services)
        with pytest.raises(TimeoutError, match="has not joined the cluster yet. Check a node"):
            wait(api, NODES, limit=0)
