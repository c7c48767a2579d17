"""The network probes on loopback: devices at addresses, and DNS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from doctor import address_probe
from doctor.address_probe import Presence
from doctor.probes import resolve, resolve_ipv6

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
    seen = address_probe.probe_addresses(
        [LISTENING_ADDRESS], ports=[listener], arp_table=tmp_path / "none"
    )
    assert seen[LISTENING_ADDRESS].answer == f"port {listener} is open"


def test_a_refused_connection_on_loopback_is_no_answer(listener: int, tmp_path: Path) -> None:
    other = IPv4Address("127.0.79.2")
    seen = address_probe.probe_addresses(
        [LISTENING_ADDRESS, other], ports=[listener], arp_table=tmp_path / "none"
    )
    assert seen[LISTENING_ADDRESS].answer and not seen[other].answer


@pytest.fixture
def no_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no pings, so that tests can use addresses outside of this machine."""

    async def send_nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(address_probe, "_ping", send_nothing)


@pytest.mark.usefixtures("no_pings")
def test_the_neighbor_table_has_silent_devices(tmp_path: Path) -> None:
    table = tmp_path / "arp"
    table.write_text(TABLE)
    complete, incomplete, unlisted = (IPv4Address(f"192.168.1.{last}") for last in (7, 8, 9))
    seen = address_probe.probe_addresses(
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
    seen = address_probe.probe_addresses(
        [complete, incomplete], ports=[], timeout_s=0, arp_table=tmp_path / "none"
    )
    assert seen[complete].mac_address == "02:FC:00:00:00:01"
    assert seen[incomplete] == Presence("", "", on_link=True)


def test_an_echo_request_has_a_valid_checksum() -> None:
    packet = address_probe._echo(515)
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
    assert address_probe._is_reply(packet) is expected


def test_resolve_returns_the_addresses_of_a_name() -> None:
    assert IPv4Address("127.0.0.1") in resolve("localhost")


def test_resolve_ipv6_returns_only_ipv6_addresses() -> None:
    assert resolve_ipv6("::1") == [IPv6Address("::1")]
    with pytest.raises(OSError):
        resolve_ipv6("127.0.0.1")
