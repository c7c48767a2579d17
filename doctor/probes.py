"""All that reaches out, each behind a small interface of its own, so that a test can stand in."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

from clients.proxmox import api as proxmox_api
from doctor import nat_pmp, presence, web
from settings.models import Settings


class Fetch(Protocol):
    """Reads what lies at a web address; raises one of ``web.ASKING``."""

    def __call__(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Read it."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The ways to look outside."""

    proxmox: Callable[[str], Any]
    """Reads a path of Proxmox' API: ``proxmox_api.caller``."""
    certificate: Callable[[str], web.Certificate]
    """The certificate of the server at a web address; raises ``OSError``."""
    fetch: Fetch
    """A file from the web."""
    presence: Callable[[Collection[IPv4Address]], Mapping[IPv4Address, presence.Presence]]
    """Who is at these addresses."""
    resolve: Callable[[str], list[IPv4Address]]
    """The addresses of a host name; raises ``OSError``."""
    public_address: Callable[[IPv4Address], IPv4Address | None]
    """The address that a router has towards the internet, if it tells."""
    connect: Callable[[str, int], None]
    """Sees whether somebody answers at a host and port; raises ``OSError``."""
    cli_version: Callable[[], str]
    """The version of the Pulumi CLI, ``v3.259.0``; empty where there is none."""

    @classmethod
    def of(cls, settings: Settings, cli: Path | None) -> Probes:
        """The real ones. ``cli`` is the Pulumi CLI, if there is one."""
        return cls(
            proxmox=proxmox_api.caller(settings.proxmoxve),
            certificate=web.certificate,
            fetch=web.fetch,
            presence=presence.look,
            resolve=resolve,
            public_address=nat_pmp.public_address,
            connect=connect,
            cli_version=lambda: cli_version(cli) if cli else "",
        )


def resolve(name: str) -> list[IPv4Address]:
    """The IPv4 addresses of a name, as this machine's own resolver knows them."""
    entries = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({IPv4Address(entry[4][0]) for entry in entries})


def connect(host: str, port: int) -> None:
    """Open a connection, and close it again. Raises ``OSError``."""
    socket.create_connection((host, port), timeout=web.LIMIT).close()


def cli_version(command: Path) -> str:
    """The version that the CLI says it has."""
    done = subprocess.run(
        [str(command), "version"],
        capture_output=True,
        text=True,
        timeout=web.LONGEST,
        check=True,
        env=os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
    )
    return done.stdout.strip()
