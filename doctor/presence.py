"""Is somebody at an address? Without root: by TCP, by ping where that is allowed, and by the
neighbour table, in which the kernel notes down whom it found on its own network.

What a silent address means depends on where this machine stands: on the castle's own network
nobody can hide from ARP; from another one, silence proves nothing. ``Presence`` keeps both apart.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

LIMIT = 1.5
"""Seconds that an address has to answer; a home network needs a hundredth of it."""
PORTS = (22, 80, 443, 6443, 50000)
"""TCP ports that are tried: a refusal is an answer too, so few are enough."""
REFUSES = "it refuses port"
_AT_ONCE = 128
_NEIGHBOURS = Path("/proc/net/arp")
_NO_MAC = "00:00:00:00:00:00"
_ECHO, _ECHO_REPLY = 8, 0


@dataclass(frozen=True)
class Presence:
    """What is known of one address."""

    answer: str = ""
    """How somebody answered: ``port 22 is open``; empty where nobody did."""
    mac_address: str = ""
    """Who was found there by ARP, now or some minutes ago; empty where nobody was."""
    on_link: bool = False
    """This machine is on the same network: nobody there can hide from it."""

    @property
    def certain(self) -> bool:
        """Whether the answer came from that address: elsewhere a firewall may refuse for it."""
        return self.on_link or not self.answer.startswith(REFUSES)


def look(
    addresses: Collection[IPv4Address],
    ports: Collection[int] = PORTS,
    limit: float = LIMIT,
    neighbours: Path = _NEIGHBOURS,
) -> dict[IPv4Address, Presence]:
    """Look at all addresses at the same time."""
    answers = asyncio.run(_ask(addresses, ports, limit))
    known = _neighbours(neighbours)
    return {
        address: Presence(
            answers.get(address, ""), known.get(address, ""), on_link=address in known
        )
        for address in addresses
    }


async def _ask(
    addresses: Collection[IPv4Address], ports: Collection[int], limit: float
) -> dict[IPv4Address, str]:
    answers: dict[IPv4Address, str] = {}
    turn = asyncio.Semaphore(_AT_ONCE)

    async def connect(address: IPv4Address, port: int) -> None:
        async with turn:
            if address not in answers and (answer := await _connect(address, port, limit)):
                answers.setdefault(address, answer)

    pings = asyncio.create_task(_ping(addresses, answers, limit))
    await asyncio.gather(*(connect(address, port) for port in ports for address in addresses))
    await pings
    return answers


async def _connect(address: IPv4Address, port: int, limit: float) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.setblocking(False)
        try:
            async with asyncio.timeout(limit):
                await asyncio.get_running_loop().sock_connect(tcp, (str(address), port))
        except ConnectionRefusedError:
            # On loopback the kernel itself refuses, for addresses that nobody has.
            return "" if address.is_loopback else f"{REFUSES} {port}"
        except OSError:  # a timeout is one too
            return ""
        return f"port {port} is open"


async def _ping(
    addresses: Collection[IPv4Address], answers: dict[IPv4Address, str], limit: float
) -> None:
    """Ping them all by one socket; where this user may not, nothing is learned."""
    loop = asyncio.get_running_loop()
    with (
        suppress(OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as icmp,
    ):
        icmp.setblocking(False)
        waiting = set()
        for number, address in enumerate(addresses):
            if not address.is_loopback:  # the kernel answers for all of these
                with suppress(OSError):
                    await loop.sock_sendto(icmp, _echo(number & 0xFFFF), (str(address), 0))
                    waiting.add(address)
        async with asyncio.timeout(limit):  # TimeoutError is an OSError: the normal end
            while waiting:
                packet, (sender, _) = await loop.sock_recvfrom(icmp, 1024)
                address = IPv4Address(sender)
                if _is_reply(packet) and address in waiting:
                    waiting.remove(address)
                    answers.setdefault(address, "it answers a ping")


def _echo(number: int) -> bytes:
    """An ICMP echo request (RFC 792); the kernel fills in the identifier."""
    bare = struct.pack("!BBHHH", _ECHO, 0, 0, 0, number)
    total = sum(struct.unpack("!4H", bare))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", _ECHO, 0, checksum, 0, number)


def _is_reply(packet: bytes) -> bool:
    """Whether it is an echo reply; macOS puts the IP header before it, Linux does not."""
    header = (packet[0] & 0x0F) * 4 if packet[0] >> 4 == 4 else 0
    return packet[header] == _ECHO_REPLY


def _neighbours(file: Path) -> Mapping[IPv4Address, str]:
    """The neighbour table: MAC addresses, and empty ones for whom ARP could not find."""
    found: dict[IPv4Address, str] = {}
    if file.exists():
        for line in file.read_text(encoding="ascii").splitlines()[1:]:
            address, _, flags, mac, *_ = line.split()
            complete = int(flags, 16) & 2 and mac != _NO_MAC
            found[IPv4Address(address)] = mac.upper() if complete else ""
    elif arp := shutil.which("arp"):
        with suppress(OSError, subprocess.SubprocessError):
            output = subprocess.run(
                [arp, "-an"], capture_output=True, text=True, timeout=LIMIT, check=True
            ).stdout
            for address, mac in re.findall(r"\(([\d.]+)\) at ([0-9a-fA-F:]+|\S+)", output):
                found[IPv4Address(address)] = _full(mac) if ":" in mac else ""
    return found


def _full(mac: str) -> str:
    """``2:fc:0:0:0:1``, as macOS writes it, in full."""
    return ":".join(part.zfill(2) for part in mac.split(":")).upper()
