"""The calls that bootstrap etcd, empty or from a snapshot, and when they are repeated."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from clients.talos import machine_api, protobuf, queries
from clients.talos.errors import ALREADY_EXISTS, TalosError
from clients.talos.queries import Service
from lifecycle import bootstrap as module
from lifecycle.bootstrap import BootstrapInputs, bootstrap

NODE = "192.168.1.253"
INPUTS = BootstrapInputs(ca_certificate="", client_certificate="", client_key="", node=NODE)


class Talos:
    """Records the calls; each Bootstrap raises the next of ``errors``, if there is one.

    Then etcd has the next of ``states`` at each question, and is healthy after the last.
    """

    def __init__(self) -> None:
        self.errors: list[TalosError] = []
        self.states: list[str] = []
        self.boot = 1
        self.is_requested = False
        self.calls: list[tuple[Any, ...]] = []

    def services(self, *_: object) -> dict[str, Service]:
        state = "Preparing"
        if self.is_requested:
            state = self.states.pop(0) if self.states else "Running"
        self.boot += state == "Rebooted"
        return {"etcd": Service(state=state, is_healthy=state == "Running", message="")}

    def call(self, node: str, _: object, procedure: str, message: bytes = b"") -> bytes:
        self.calls.append((node, procedure, message))
        if self.errors:
            error = self.errors.pop(0)
            self.is_requested = error.status == ALREADY_EXISTS
            raise error
        self.is_requested = True
        return b""

    def stream(
        self, node: str, _: object, procedure: str, messages: Iterable[bytes], *, limit: float
    ) -> bytes:
        parts = [protobuf.find(message, 2) for message in messages]
        self.calls.append((node, procedure, parts, limit))
        return b""


@pytest.fixture
def talos(monkeypatch: pytest.MonkeyPatch) -> Talos:
    found = Talos()
    monkeypatch.setattr(machine_api, "call", lambda *args: found.call(*args))
    monkeypatch.setattr(machine_api, "stream", lambda *args, **more: found.stream(*args, **more))
    monkeypatch.setattr(queries, "services", found.services)
    monkeypatch.setattr(queries, "boot_id", lambda *_: str(found.boot))
    monkeypatch.setattr(module, "context_of", lambda _: None)
    monkeypatch.setattr("clients.wait.time.sleep", lambda _: None)
    return found


BOOTSTRAP = (NODE, "/machine.MachineService/Bootstrap", b"")


def test_an_empty_etcd_needs_one_call(talos: Talos) -> None:
    bootstrap(INPUTS)
    assert talos.calls == [BOOTSTRAP]


def test_a_snapshot_is_uploaded_in_parts_before_the_bootstrap(talos: Talos) -> None:
    snapshot = bytes(itertools.islice(itertools.cycle(range(256)), 70_000))
    bootstrap(INPUTS, snapshot=snapshot)
    (node, procedure, parts, limit), last = talos.calls
    assert (node, procedure, limit) == (NODE, "/machine.MachineService/EtcdRecover", 120)
    assert [len(part) for part in parts] == [32_768, 32_768, 4_464]
    assert b"".join(parts) == snapshot
    # `recover_etcd: true` in a BootstrapRequest.
    assert last == (NODE, "/machine.MachineService/Bootstrap", b"\x08\x01")


def test_an_etcd_that_exists_is_a_success(talos: Talos) -> None:
    talos.errors = [
        TalosError("Bootstrap", "10.0.0.1", "etcd data directory is not empty", ALREADY_EXISTS)
    ]
    bootstrap(INPUTS)
    assert talos.calls == [BOOTSTRAP]


def test_other_errors_are_repeated_until_the_time_is_up(talos: Talos) -> None:
    talos.errors = [TalosError("Bootstrap", "10.0.0.1", "does not answer") for _ in range(2)]
    bootstrap(INPUTS)
    assert talos.calls == [BOOTSTRAP] * 3
    talos.is_requested = False
    talos.errors = [TalosError("Bootstrap", "10.0.0.1", "bootstrap is not available yet")]
    with pytest.raises(TimeoutError, match=rf"on {NODE} in 0 s: bootstrap is not available yet\."):
        bootstrap(INPUTS, 0)


def test_each_boot_gets_one_request_while_etcd_starts(talos: Talos) -> None:
    talos.states = ["Preparing", "Waiting", "Preparing"]
    bootstrap(INPUTS)
    assert talos.calls == [BOOTSTRAP]


@pytest.mark.parametrize("state", ["Rebooted", "Failed"])
def test_the_request_is_repeated_after_a_reboot_or_failure(talos: Talos, state: str) -> None:
    talos.states = ["Preparing", state, "Preparing"]
    bootstrap(INPUTS, snapshot=b"snapshot")
    upload = (NODE, "/machine.MachineService/EtcdRecover", [b"snapshot"], 120)
    recover = (NODE, "/machine.MachineService/Bootstrap", b"\x08\x01")
    assert talos.calls == [upload, recover] * 2


def test_a_healthy_etcd_gets_no_request(talos: Talos) -> None:
    talos.is_requested = True
    bootstrap(INPUTS)
    assert talos.calls == []
