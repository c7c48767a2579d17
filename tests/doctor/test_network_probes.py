"""The probes themselves, on loopback: who is at an address, what a router says, what DNS knows."""

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

HERE = IPv4Address("127.0.79.1")
TABLE = """\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.7      0x1         0x2         02:fc:00:00:00:01     *        eth0
192.168.1.8      0x1         0x0         00:00:00:00:00:00     *        eth0
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """A port at ``HERE`` that is open."""
    with socket.socket() as server:
        server.bind((str(HERE), 0))
        server.listen()
        yield server.getsockname()[1]


def test_an_open_port_is_an_answer(listener: int, tmp_path: Path) -> None:
    seen = presence.look([HERE], ports=[listener], neighbours=tmp_path / "none")
    assert seen[HERE].answer == f"port {listener} is open"


def test_on_loopback_a_refusal_is_the_kernels_own(listener: int, tmp_path: Path) -> None:
    other = IPv4Address("127.0.79.2")
    seen = presence.look([HERE, other], ports=[listener], neighbours=tmp_path / "none")
    assert seen[HERE].answer and not seen[other].answer


def test_the_neighbour_table_knows_who_is_silent(tmp_path: Path) -> None:
    table = tmp_path / "arp"
    table.write_text(TABLE)
    there, gone, elsewhere = (IPv4Address(f"192.168.1.{last}") for last in (7, 8, 9))
    # No port is tried, and nothing leaves this machine.
    seen = presence.look([there, gone, elsewhere], ports=[], limit=0, neighbours=table)
    assert seen == {
        there: Presence("", "02:FC:00:00:00:01", on_link=True),
        gone: Presence("", "", on_link=True),
        elsewhere: Presence("", "", on_link=False),
    }


ARP = """#!/bin/sh
echo '? (192.168.1.7) at 2:fc:0:0:0:1 on en0 ifscope [ethernet]'
echo '? (192.168.1.8) at (incomplete) on en0 ifscope [ethernet]'
"""


def test_where_there_is_no_table_a_command_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "arp"
    command.write_text(ARP)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    there, gone = IPv4Address("192.168.1.7"), IPv4Address("192.168.1.8")
    seen = presence.look([there, gone], ports=[], limit=0, neighbours=tmp_path / "none")
    assert seen[there].mac_address == "02:FC:00:00:00:01"
    assert seen[gone] == Presence("", "", on_link=True)


def test_an_echo_request_is_a_valid_one() -> None:
    packet = presence._echo(515)
    words = [int.from_bytes(packet[i : i + 2], "big") for i in range(0, len(packet), 2)]
    total = sum(words)
    # RFC 1071: a message with its checksum in it sums up to all ones.
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
def test_only_an_echo_reply_is_one(packet: bytes, expected: bool) -> None:
    assert presence._is_reply(packet) is expected


# NAT-PMP ------------------------------------------------------------------------------------------


def asked(answer: bytes) -> tuple[IPv4Address | None, bytes]:
    """What comes of a router that answers so, and what it was asked."""
    questions: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
        router.bind(("127.0.0.1", 0))
        router.settimeout(10)

        def serve() -> None:
            question, sender = router.recvfrom(64)
            questions.append(question)
            router.sendto(answer, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        port = router.getsockname()[1]
        found = nat_pmp.public_address(IPv4Address("127.0.0.1"), port, limit=10)
        thread.join()
    return found, questions[0]


def test_a_router_tells_its_public_address() -> None:
    found, question = asked(bytes([0, 128, 0, 0, 0, 0, 0, 9, 20, 30, 40, 50]))
    assert found == IPv4Address("20.30.40.50")
    assert question == bytes([0, 0])  # RFC 6886: ask for the address, and change nothing


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
def test_any_other_answer_is_none(answer: bytes) -> None:
    assert asked(answer)[0] is None


def test_a_router_that_does_not_listen_tells_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    assert nat_pmp.public_address(IPv4Address("127.0.0.1"), port) is None


def test_a_name_of_this_machine_is_known_to_it() -> None:
    assert IPv4Address("127.0.0.1") in resolve("localhost")
