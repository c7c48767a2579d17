"""Find devices at IP addresses without root: by TCP, ping and the kernel's neighbor table.

In its own network this machine finds every device by ARP. In another network a device that does not
answer is invisible. ``Presence.on_link`` separates the two cases.
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

ANSWER_TIMEOUT_S = 1.5
"""Seconds to wait for an answer of an address; a home network answers within 15 ms."""
PORTS = (22, 80, 443, 6443, 50000)
"""TCP ports to probe. A refused connection is an answer too, so these few ports are enough."""
REFUSES = "it refuses port"
_PARALLEL_CONNECTIONS = 128
_ARP_TABLE = Path("/proc/net/arp")
_NO_MAC = "00:00:00:00:00:00"
_ECHO, _ECHO_REPLY = 8, 0


@dataclass(frozen=True)
class Presence:
    """What the probes found out about one address."""

    answer: str = ""
    """The answer of a device: ``port 22 is open``; empty if no device answered."""
    mac_address: str = ""
    """MAC address of the device in the neighbor table, which also has devices of some minutes ago;
    empty if ARP found no device."""
    on_link: bool = False
    """Whether this machine is in the same network, and so finds every device by ARP."""

    @property
    def certain(self) -> bool:
        """Whether the answer came from a device at the address.

        From another network, a firewall between may have refused the connection.
        """
        return self.on_link or not self.answer.startswith(REFUSES)


def probe_addresses(
    addresses: Collection[IPv4Address],
    ports: Collection[int] = PORTS,
    timeout_s: float = ANSWER_TIMEOUT_S,
    arp_table: Path = _ARP_TABLE,
) -> dict[IPv4Address, Presence]:
    """Probe all addresses in parallel, each for at most ``timeout_s`` seconds."""
    answers = asyncio.run(_send_probes(addresses, ports, timeout_s))
    neighbors = _read_neighbors(arp_table)
    return {
        address: Presence(
            answers.get(address, ""), neighbors.get(address, ""), on_link=address in neighbors
        )
        for address in addresses
    }


async def _send_probes(
    addresses: Collection[IPv4Address], ports: Collection[int], timeout_s: float
) -> dict[IPv4Address, str]:
    answers: dict[IPv4Address, str] = {}
    semaphore = asyncio.Semaphore(_PARALLEL_CONNECTIONS)

    async def connect(address: IPv4Address, port: int) -> None:
        async with semaphore:
            if address not in answers and (answer := await _connect(address, port, timeout_s)):
                answers.setdefault(address, answer)

    pings = asyncio.create_task(_ping(addresses, answers, timeout_s))
    await asyncio.gather(*(connect(address, port) for port in ports for address in addresses))
    await pings
    return answers


async def _connect(address: IPv4Address, port: int, timeout_s: float) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.setblocking(False)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(tcp, (str(address), port))
        except ConnectionRefusedError:
            # For every loopback address the kernel itself refuses, even if no server uses it.
            return "" if address.is_loopback else f"{REFUSES} {port}"
        except OSError:  # Includes TimeoutError.
            return ""
        return f"port {port} is open"


async def _ping(
    addresses: Collection[IPv4Address], answers: dict[IPv4Address, str], timeout_s: float
) -> None:
    """Ping all addresses through one socket. Adds no answers if this user may not send pings."""
    loop = asyncio.get_running_loop()
    with (
        suppress(OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as icmp,
    ):
        icmp.setblocking(False)
        waiting = set()
        for number, address in enumerate(addresses):
            if not address.is_loopback:  # The kernel answers for every loopback address.
                with suppress(OSError):
                    await loop.sock_sendto(icmp, _echo(number & 0xFFFF), (str(address), 0))
                    waiting.add(address)
        async with asyncio.timeout(timeout_s):  # `suppress` ignores its TimeoutError.
            while waiting:
                packet, (sender, _) = await loop.sock_recvfrom(icmp, 1024)
                address = IPv4Address(sender)
                if _is_reply(packet) and address in waiting:
                    waiting.remove(address)
                    answers.setdefault(address, "it answers a ping")


def _echo(number: int) -> bytes:
    """An ICMP echo request (RFC 792). The kernel sets the identifier."""
    bare = struct.pack("!BBHHH", _ECHO, 0, 0, 0, number)
    total = sum(struct.unpack("!4H", bare))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", _ECHO, 0, checksum, 0, number)


def _is_reply(packet: bytes) -> bool:
    """Whether the packet is an ICMP echo reply, with (macOS) or without (Linux) its IP header."""
    header = (packet[0] & 0x0F) * 4 if packet[0] >> 4 == 4 else 0
    return packet[header] == _ECHO_REPLY


def _read_neighbors(file: Path) -> Mapping[IPv4Address, str]:
    """Read the neighbor table from ``file`` (Linux), or with the command ``arp``.

    The MAC address is empty if ARP found no device at the address.
    """
    found: dict[IPv4Address, str] = {}
    if file.exists():
        for line in file.read_text(encoding="ascii").splitlines()[1:]:
            address, _, flags, mac, *_ = line.split()
            complete = int(flags, 16) & 2 and mac != _NO_MAC
            found[IPv4Address(address)] = mac.upper() if complete else ""
    elif arp := shutil.which("arp"):
        with suppress(OSError, subprocess.SubprocessError):
            output = subprocess.run(
                [arp, "-an"], capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=True
            ).stdout
            for address, mac in re.findall(r"\(([\d.]+)\) at ([0-9a-fA-F:]+|\S+)", output):
                found[IPv4Address(address)] = _pad_mac_address(mac) if ":" in mac else ""
    return found


def _pad_mac_address(mac: str) -> str:
    """Add the leading zeros that macOS omits: ``2:fc:0:0:0:1`` becomes ``02:FC:00:00:00:01``."""
    return ":".join(part.zfill(2) for part in mac.split(":")).upper()
