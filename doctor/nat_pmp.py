"""Asks the router itself for its public address: NAT-PMP, which many home routers speak.

One datagram that asks and changes nothing (RFC 6886 3.2); no service elsewhere is asked.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

PORT = 5351
LIMIT = 1.0
"""Seconds that the router has to answer."""
_ASK_PUBLIC_ADDRESS = b"\0\0"
_ANSWER = struct.Struct("!BBHI4s")
_ANSWERS, _SUCCESS = 128, 0


def public_address(
    router: IPv4Address, port: int = PORT, limit: float = LIMIT
) -> IPv4Address | None:
    """The router's address towards the internet; none where it does not tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(limit)
        try:
            udp.connect((str(router), port))
            udp.send(_ASK_PUBLIC_ADDRESS)
            packet = udp.recv(64)
        except OSError:
            return None
    if len(packet) < _ANSWER.size:
        return None
    _, operation, result, _, address = _ANSWER.unpack_from(packet)
    found = IPv4Address(address)
    told = operation == _ANSWERS and result == _SUCCESS and int(found)
    return found if told else None
