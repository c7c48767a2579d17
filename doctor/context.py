"""The argument of every check: the settings, and access to the network, Proxmox and the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from clients.kubernetes.longhorn import Storage
from clients.tls import ClientCredentials
from doctor.findings import CannotCheckError, Finding, failure, warning
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from settings.models import Settings


def no_cluster() -> Storage | None:
    """The default of ``Context.storage``: the stack has no cluster, so it has no storage."""
    return None


def no_credentials() -> ClientCredentials | None:
    """The default of ``Context.talos_credentials``: the stack has no cluster."""
    return None


@dataclass(frozen=True, kw_only=True)
class Context:
    """The settings of the stack, and the ways to compare them with reality."""

    settings: Settings
    advice: tuple[str, ...]
    """Warnings about the settings, each a sentence."""
    probes: Probes
    proxmox: Proxmox
    certificate_ends: Callable[[], Mapping[str, datetime]] = dict
    """Reads when each certificate expires, by name. The name of a file in the project folder begins
    with ``./``."""
    storage: Callable[[], Storage | None] = no_cluster
    """Reads Longhorn's objects in the running cluster; None if the stack has no cluster with
    Longhorn. Raises ``OperationError`` if the Kubernetes API does not answer."""
    talos_credentials: Callable[[], ClientCredentials | None] = no_credentials
    """Reads the credentials of a Talos client; None if the stack has no cluster. Raises
    ``OperationError``."""

    @property
    def hosts(self) -> list[str]:
        """The names of the Proxmox hosts with VMs of the stack."""
        return sorted({node.host for node in self.settings.machines})

    def online_hosts(self) -> list[str]:
        """Those of ``hosts`` that are online. The check ``hosts`` reports the others."""
        online = self.proxmox.online()
        return [host for host in self.hosts if online.get(host)]

    def download_problem(self, subject: str, text: str, fix: str) -> Finding:
        """The finding that a download server does not answer.

        It is a failure for a new cluster and a warning for a running one, because most changes of a
        running cluster download nothing.
        """
        return (warning if self.has_vms() else failure)(subject, text, fix)

    def has_vms(self) -> bool:
        """Whether the stack has VMs; False if Proxmox does not answer."""
        try:
            return bool(self.proxmox.stack_vms())
        except CannotCheckError:
            return False


Check = Callable[[Context], Iterator[Finding]]
"""Yields its findings. Raises ``CannotCheckError`` if it cannot give a result."""
