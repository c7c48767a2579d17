"""Watches a cluster while it changes: machines, volumes, and the Kubernetes API."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.lab import Lab

_PAUSE = 0.1


def order(lab: Lab, **faults: Any) -> None:
    """Order faults of the rack's machines; see ``rack/talos/hand.py``."""
    lab.control("POST", "/machines", faults)


def diary(lab: Lab) -> list[tuple[float, str, str]]:
    """When, what and whose: what happened on the rack."""
    return [(when, what, whose) for when, what, whose in lab.control("GET", "/machines")]


class Kubernetes:
    """An administrator of the cluster, with one kubeconfig for all calls."""

    def __init__(self, lab: Lab) -> None:
        document = yaml.safe_load(lab.kubeconfig())
        user, cluster = document["users"][0]["user"], document["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.TemporaryDirectory(dir=lab.folder) as name:
            pair = Path(name) / "pair.pem"
            pair.write_bytes(
                base64.b64decode(user["client-certificate-data"])
                + base64.b64decode(user["client-key-data"])
            )
            self._context.load_cert_chain(pair)
        self._server = cluster["server"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API; anything but success raises."""
        data = None if body is None else json.dumps(body).encode()
        kind = "merge-patch+json" if method == "PATCH" else "json"
        request = urllib.request.Request(
            self._server + path, data, {"Content-Type": f"application/{kind}"}, method=method
        )
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Every node, by its name."""
        return {
            node["metadata"]["name"]: node for node in self.call("GET", "/api/v1/nodes")["items"]
        }

    def versions(self) -> dict[str, str]:
        """What Talos each node says it has."""
        return {name: node["status"]["nodeInfo"]["osImage"] for name, node in self.nodes().items()}

    def cordoned(self) -> list[str]:
        """The nodes that take no pods."""
        return [n for n, node in self.nodes().items() if node["spec"].get("unschedulable")]


@contextmanager
def watched(lab: Lab, *, removed: Sequence[str] = ()) -> Iterator[None]:
    """Watch: never are two machines down together, no volume loses its last healthy replica, and
    the API always answers. Machines that are ``removed`` may stay away."""
    kubernetes, begin = Kubernetes(lab), len(diary(lab))
    silences: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(_PAUSE):
            try:
                kubernetes.call("GET", "/readyz")
            except OSError as error:
                silences.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert silences == []
    assert_one_at_a_time(diary(lab)[begin:], removed)


def assert_one_at_a_time(events: list[tuple[float, str, str]], removed: Sequence[str]) -> None:
    """No two machines were down at the same time, and no volume was lost."""
    down: set[str] = set()
    for _, what, whose in events:
        assert what != "lost", f"{whose} was without a healthy replica: {events}"
        if whose in removed:
            continue
        if what == "down":
            down.add(whose)
        else:
            down.discard(whose)
        assert len(down) <= 1, f"down together: {down}"


def rebooted(events: list[tuple[float, str, str]]) -> list[str]:
    """The addresses of the machines that came up, in order."""
    return [whose for _, what, whose in events if what == "up"]


def settle(kubernetes: Kubernetes, path: str) -> None:
    """Delete an object, if it is there."""
    with suppress(urllib.error.HTTPError):
        kubernetes.call("DELETE", path)


def wait_until(is_true: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait for something that happens by itself. An API that does not answer yet is no failure."""
    end = time.monotonic() + timeout_s
    while True:
        with suppress(OSError):
            if is_true():
                return
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.2)
