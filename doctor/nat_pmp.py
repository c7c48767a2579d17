"""Ask the router for its public address by NAT-PMP, which many home routers support.

The request is one datagram and changes nothing (RFC 6886, section 3.2).
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

PORT = 5351
ANSWER_TIMEOUT_S = 1.0
"""Seconds to wait for the router's answer."""
_PUBLIC_ADDRESS_REQUEST = b"\0\0"
_ANSWER = struct.Struct("!BBHI4s")
_ANSWER_OPCODE, _SUCCESS = 128, 0


def public_address(
    router: IPv4Address, port: int = PORT, timeout_s: float = ANSWER_TIMEOUT_S
) -> IPv4Address | None:
    """The public address of the router; None if the router does not report an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout_s)
        try:
            udp.connect((str(router), port))
            udp.send(_PUBLIC_ADDRESS_REQUEST)
            packet = udp.recv(64)
        except OSError:
            return None
    if len(packet) < _ANSWER.size:
        return None
    _, opcode, result, _, packed = _ANSWER.unpack_from(packet)
    address = IPv4Address(packed)
    has_address = opcode == _ANSWER_OPCODE and result == _SUCCESS and int(address)
    return address if has_address else None
