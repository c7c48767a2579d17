"""What every check is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from clients.kubernetes.longhorn import Storage
from doctor.findings import CannotTellError, Finding, failure, warning
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from settings.models import Settings


def no_cluster() -> Storage | None:
    """The storage of a stack that has no cluster yet."""
    return None


@dataclass(frozen=True, kw_only=True)
class Context:
    """The castle that is wanted, and the ways to look at what is there."""

    settings: Settings
    advice: tuple[str, ...]
    """What the settings themselves warn of."""
    probes: Probes
    proxmox: Proxmox
    ends: Callable[[], Mapping[str, datetime]] = dict
    """When the castle's certificates end, by name; see ``doctor/certificates.py``."""
    storage: Callable[[], Storage | None] = no_cluster
    """What Longhorn reports in the running cluster; None if there is no cluster with Longhorn yet.
    Raises ``ApiError`` if the cluster does not answer."""

    @property
    def hosts(self) -> list[str]:
        """The Proxmox hosts that carry a machine."""
        return sorted({node.host for node in self.settings.machines})

    def online_hosts(self) -> list[str]:
        """Those of them that can be asked; the others are told of by the check of hosts."""
        online = self.proxmox.online()
        return [host for host in self.hosts if online.get(host)]

    def unreachable(self, subject: str, text: str, fix: str) -> Finding:
        """A server for downloads cannot be asked: a failure only for a castle that begins.

        One that stands has what it needs, and most of its changes ask for nothing new.
        """
        try:
            stands = bool(self.proxmox.own_machines())
        except CannotTellError:
            stands = False
        return (warning if stands else failure)(subject, text, fix)


Check = Callable[[Context], Iterator[Finding]]
"""Yields what it finds. May raise ``CannotTellError``."""
