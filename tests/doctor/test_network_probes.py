"""The network probes on loopback: devices at addresses, NAT-PMP, DNS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from doctor import nat_pmp, presence
from doctor.presence import Presence
from doctor.probes import resolve

LISTENING_ADDRESS = IPv4Address("127.0.79.1")
TABLE = """\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.7      0x1         0x2         02:fc:00:00:00:01     *        eth0
192.168.1.8      0x1         0x0         00:00:00:00:00:00     *        eth0
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """The number of an open port at ``LISTENING_ADDRESS``."""
    with socket.socket() as server:
        server.bind((str(LISTENING_ADDRESS), 0))
        server.listen()
        yield server.getsockname()[1]


def test_an_open_port_counts_as_an_answer(listener: int, tmp_path: Path) -> None:
    seen = presence.probe_addresses(
        [LISTENING_ADDRESS], ports=[listener], arp_table=tmp_path / "none"
    )
    assert seen[LISTENING_ADDRESS].answer == f"port {listener} is open"


def test_a_refused_connection_on_loopback_is_no_answer(listener: int, tmp_path: Path) -> None:
    other = IPv4Address("127.0.79.2")
    seen = presence.probe_addresses(
        [LISTENING_ADDRESS, other], ports=[listener], arp_table=tmp_path / "none"
    )
    assert seen[LISTENING_ADDRESS].answer and not seen[other].answer


@pytest.fixture
def no_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no pings, so that tests can use addresses outside of this machine."""

    async def send_nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(presence, "_ping", send_nothing)


@pytest.mark.usefixtures("no_pings")
def test_the_neighbor_table_has_silent_devices(tmp_path: Path) -> None:
    table = tmp_path / "arp"
    table.write_text(TABLE)
    complete, incomplete, unlisted = (IPv4Address(f"192.168.1.{last}") for last in (7, 8, 9))
    seen = presence.probe_addresses(
        [complete, incomplete, unlisted], ports=[], timeout_s=0, arp_table=table
    )
    assert seen == {
        complete: Presence("", "02:FC:00:00:00:01", on_link=True),
        incomplete: Presence("", "", on_link=True),
        unlisted: Presence("", "", on_link=False),
    }


ARP = """#!/bin/sh
echo '? (192.168.1.7) at 2:fc:0:0:0:1 on en0 ifscope [ethernet]'
echo '? (192.168.1.8) at (incomplete) on en0 ifscope [ethernet]'
"""


@pytest.mark.usefixtures("no_pings")
def test_without_proc_the_command_arp_reads_the_neighbor_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "arp"
    command.write_text(ARP)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    complete, incomplete = IPv4Address("192.168.1.7"), IPv4Address("192.168.1.8")
    seen = presence.probe_addresses(
        [complete, incomplete], ports=[], timeout_s=0, arp_table=tmp_path / "none"
    )
    assert seen[complete].mac_address == "02:FC:00:00:00:01"
    assert seen[incomplete] == Presence("", "", on_link=True)


def test_an_echo_request_has_a_valid_checksum() -> None:
    packet = presence._echo(515)
    words = [int.from_bytes(packet[i : i + 2], "big") for i in range(0, len(packet), 2)]
    total = sum(words)
    # RFC 1071: the sum of a message with its checksum is all ones.
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert packet[0] == 8


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (bytes([0, 0, 0, 0]), True),
        (bytes([3, 1, 0, 0]), False),
        (bytes([0x45]) + bytes(19) + bytes([0, 0, 0, 0]), True),
        (bytes([0x45]) + bytes(19) + bytes([11, 0, 0, 0]), False),
    ],
    ids=["reply", "unreachable", "reply with its IP header", "time exceeded with its IP header"],
)
def test_only_an_echo_reply_counts_as_a_ping_answer(packet: bytes, expected: bool) -> None:
    assert presence._is_reply(packet) is expected


# NAT-PMP ------------------------------------------------------------------------------------------


def ask_router(answer: bytes) -> tuple[IPv4Address | None, bytes]:
    """Ask a fake router that sends ``answer``; return the result, and the request."""
    requests: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
        router.bind(("127.0.0.1", 0))
        router.settimeout(10)

        def serve() -> None:
            request, sender = router.recvfrom(64)
            requests.append(request)
            router.sendto(answer, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        port = router.getsockname()[1]
        found = nat_pmp.public_address(IPv4Address("127.0.0.1"), port, timeout_s=10)
        thread.join()
    return found, requests[0]


def test_a_router_reports_its_public_address() -> None:
    found, request = ask_router(bytes([0, 128, 0, 0, 0, 0, 0, 9, 20, 30, 40, 50]))
    assert found == IPv4Address("20.30.40.50")
    assert request == bytes([0, 0])  # RFC 6886: the read-only request for the public address


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        bytes([0, 128, 0, 3]),
        bytes([0, 128, 0, 2, 0, 0, 0, 9, 20, 30, 40, 50]),
        bytes([0, 129, 0, 0, 0, 0, 0, 9, 20, 30, 40, 50]),
        bytes([0, 128, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]),
    ],
    ids=["empty", "too short", "refused", "another answer", "not connected"],
)
def test_an_invalid_answer_gives_no_address(answer: bytes) -> None:
    assert ask_router(answer)[0] is None


def test_a_router_without_nat_pmp_gives_no_address() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed_later:
        closed_later.bind(("127.0.0.1", 0))
        port = closed_later.getsockname()[1]
    assert nat_pmp.public_address(IPv4Address("127.0.0.1"), port) is None


def test_resolve_returns_the_addresses_of_a_name() -> None:
    assert IPv4Address("127.0.0.1") in resolve("localhost")
