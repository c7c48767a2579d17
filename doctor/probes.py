"""All network access of the doctor, as functions that tests can replace."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Protocol

from clients.proxmox import api as proxmox_api
from doctor import address_probe, web
from doctor.address_probe import Presence
from settings.models import Settings

_NTP_PORT = 123
_NTP_SIZE = 48
_NTP_REQUEST = bytes([0o43, *bytes(_NTP_SIZE - 1)])
"""A client's request of NTP version 4 (RFC 5905, section 7.3)."""
_NTP_TIMEOUT_S = 3
_NTP_TRIES = 3
"""Number of attempts, because UDP may lose a packet."""


class Fetch(Protocol):
    """The type of ``web.fetch``."""

    def __call__(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Read a URL. Raises one of ``web.FETCH_ERRORS``."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The functions that send requests, and the one that runs the Pulumi CLI."""

    proxmox: Callable[[str], Any]
    """Reads a path of the Proxmox API: ``proxmox_api.caller``."""
    certificate: Callable[[str], web.ServerCertificate]
    """Reads the certificate of the server of an https URL. Raises ``OSError``."""
    fetch: Fetch
    """Reads the content of a URL."""
    probe_addresses: Callable[[Collection[IPv4Address]], Mapping[IPv4Address, Presence]]
    """Finds the devices at these addresses."""
    resolve: Callable[[str], list[IPv4Address]]
    """Resolves a host name to its IPv4 addresses. Raises ``OSError``."""
    resolve_ipv6: Callable[[str], list[IPv6Address]]
    """Resolves a host name to its IPv6 addresses. Raises ``OSError``."""
    connect: Callable[[str, int], None]
    """Opens and closes a TCP connection to a host and port. Raises ``OSError``."""
    ask_time: Callable[[str], None]
    """Asks a time server over NTP. Raises ``OSError`` if it does not answer."""
    cli_version: Callable[[], str]
    """The version of the Pulumi CLI, ``v3.259.0``; empty if the CLI is not installed."""

    @classmethod
    def of(cls, settings: Settings, cli: Path | None) -> Probes:
        """The probes of the real network. ``cli`` is the path of the Pulumi CLI, if installed."""
        return cls(
            proxmox=proxmox_api.caller(settings.proxmoxve),
            certificate=web.read_certificate,
            fetch=web.fetch,
            probe_addresses=address_probe.probe_addresses,
            resolve=resolve,
            resolve_ipv6=resolve_ipv6,
            connect=connect,
            ask_time=ask_time,
            cli_version=lambda: cli_version(cli) if cli else "",
        )


def resolve(name: str) -> list[IPv4Address]:
    """Resolve a host name to its IPv4 addresses with this machine's resolver."""
    entries = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({IPv4Address(entry[4][0]) for entry in entries})


def resolve_ipv6(name: str) -> list[IPv6Address]:
    """Resolve a host name to its IPv6 addresses with this machine's resolver."""
    entries = socket.getaddrinfo(name, None, socket.AF_INET6, socket.SOCK_STREAM)
    return sorted({IPv6Address(entry[4][0]) for entry in entries})


def connect(host: str, port: int) -> None:
    """Open and close a TCP connection. Raises ``OSError``."""
    socket.create_connection((host, port), timeout=web.SILENCE_TIMEOUT_S).close()


def ask_time(server: str) -> None:
    """Ask a time server over NTP (UDP port 123). Raises ``OSError`` if it does not answer."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        server, _NTP_PORT, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind, protocol) as asked:
        asked.settimeout(_NTP_TIMEOUT_S)
        asked.connect(address)
        for attempt in range(_NTP_TRIES):
            asked.send(_NTP_REQUEST)
            try:
                asked.recv(_NTP_SIZE)
            except TimeoutError:
                if attempt == _NTP_TRIES - 1:
                    raise
            else:
                return


def cli_version(command: Path) -> str:
    """The output of ``pulumi version``: ``v3.259.0``."""
    done = subprocess.run(
        [str(command), "version"],
        capture_output=True,
        text=True,
        timeout=web.ANSWER_TIMEOUT_S,
        check=True,
        env=os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
    )
    return done.stdout.strip()
