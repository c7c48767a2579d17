"""The doctor's checks of time servers and of the clocks of the nodes."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from clients.errors import OperationError
from clients.talos.errors import TalosError
from clients.tls import ClientCredentials
from doctor import probes
from doctor.checks import time_servers
from doctor.findings import CannotCheckError, Finding

CREDENTIALS = ClientCredentials(ca_certificate="", client_certificate="", client_key="")


def server_findings(ntp: list[str], silent: set[str]) -> list[Finding]:
    """The findings if these time servers are configured, and the silent ones do not answer."""

    def ask_time(server: str) -> None:
        if server in silent:
            raise TimeoutError("timed out")

    context: Any = SimpleNamespace(
        settings=SimpleNamespace(cluster=SimpleNamespace(ntp=ntp)),
        probes=SimpleNamespace(ask_time=ask_time),
    )
    return list(time_servers.check_time_servers(context))


def test_one_time_server_that_answers_is_enough() -> None:
    (found,) = server_findings(["192.168.1.1", "time.example.org"], {"192.168.1.1"})
    assert (found.result, found.subject) == ("ok", "time.example.org")


@pytest.mark.parametrize(
    ("ntp", "named"), [([], "time.cloudflare.com"), (["192.168.1.1"], "192.168.1.1")]
)
def test_a_network_without_a_time_server_is_a_warning(ntp: list[str], named: str) -> None:
    (found,) = server_findings(ntp, {named})
    assert found.result == "warning"
    assert f"do not answer this machine over NTP: {named} (" in found.text
    assert "cluster.ntp" in found.fix


def clock_findings(
    monkeypatch: pytest.MonkeyPatch, clocks: dict[str, bool | None], credentials: Any = CREDENTIALS
) -> list[Finding]:
    """The findings if Talos reports these clocks; None does not answer."""

    def has_synchronized_clock(address: str, _: object) -> bool:
        found = clocks[address]
        if found is None:
            raise TalosError("Get", address, "refused")
        return found

    monkeypatch.setattr(time_servers, "context_of", lambda _: None)
    monkeypatch.setattr("clients.talos.queries.has_synchronized_clock", has_synchronized_clock)
    machines = [SimpleNamespace(name=f"node-{it}", address=it) for it in clocks]
    context: Any = SimpleNamespace(
        settings=SimpleNamespace(machines=machines), talos_credentials=lambda: credentials
    )
    return list(time_servers.check_node_clocks(context))


def test_each_node_without_a_synchronized_clock_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {"10.0.0.1": True, "10.0.0.2": False, "10.0.0.3": None, "10.0.0.4": True}
    bad, silent, good = clock_findings(monkeypatch, clocks)
    assert (bad.result, bad.subject) == ("warning", "clock of node-10.0.0.2")
    assert "no time server answers the node" in bad.text and "cluster.ntp" in bad.fix
    assert (silent.result, silent.text.rpartition(": ")[2]) == ("note", "node-10.0.0.3")
    assert (good.result, good.text) == ("ok", "are synchronized on 2 nodes")


def test_without_a_cluster_there_is_one_note(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = clock_findings(monkeypatch, {"10.0.0.1": True}, credentials=None)
    assert (found.result, found.text) == ("note", "are not checked: this stack has no cluster yet")


def test_a_state_that_cannot_be_read_is_no_bug_of_the_doctor() -> None:
    def fail() -> None:
        raise OperationError("the talosconfig of the cluster cannot be read")

    context: Any = SimpleNamespace(talos_credentials=fail)
    with pytest.raises(CannotCheckError, match="the talosconfig of the cluster cannot be read"):
        list(time_servers.check_node_clocks(context))


def test_the_probe_sends_a_request_of_ntp(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(probes, "_NTP_PORT", server.getsockname()[1])

        def answer() -> None:
            request, client = server.recvfrom(100)
            requests.append(request)
            server.sendto(bytes(48), client)

        thread = threading.Thread(target=answer)
        thread.start()
        probes.ask_time("127.0.0.1")
        thread.join()
    (request,) = requests
    # Leap indicator 0, version 4, mode 3 (client).
    assert (len(request), request[0]) == (48, 0x23)


def test_a_silent_or_missing_time_server_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_NTP_TIMEOUT_S", 0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(probes, "_NTP_PORT", server.getsockname()[1])
        with pytest.raises(TimeoutError):
            probes.ask_time("127.0.0.1")
        assert [len(server.recv(100)) for _ in range(3)] == [48, 48, 48]
    with pytest.raises(OSError):
        probes.ask_time("127.0.0.1")
