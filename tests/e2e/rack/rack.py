"""The rack: simulated Proxmox VE, Talos machines and image factory, wired together."""

from __future__ import annotations

import copy
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from .certificates import CertificateAuthority
from .factory import ImageFactory, Internet
from .faults import Faults
from .kubernetes.programs import Programs
from .kubernetes.simulator import KubernetesSimulator
from .page.server import Page
from .proxmox.model import Node, Vm
from .proxmox.server import server_tls
from .proxmox.simulator import ProxmoxSimulator
from .request_log import RequestLog
from .talos.machine import Machine
from .talos.simulator import TalosSimulator

_TOKEN_ID = "root@pam!rack"  # the public half


class Rack:
    """A rack that can be switched on, looked at, and emptied.

    A machine exists only while its VM runs: it boots at the static address of its first
    ``ipconfig``, port 50000, if its boot disk was imported from an image. With the programs of
    Kubernetes, a bootstrapped cluster has an API at its endpoint.
    """

    def __init__(
        self,
        hosts: Sequence[Node | str] = ("pve",),
        *,
        address: str = "127.0.0.1",
        proxmox_port: int = 0,
        factory_port: int = 0,
        kubernetes: Programs | None = None,
    ) -> None:
        self.address = address
        self.api_token = f"{_TOKEN_ID}={uuid.uuid4()}"
        """What the provider is given as its token."""
        self._programs = kubernetes
        self._hosts = [Node(name=host) if isinstance(host, str) else host for host in hosts]
        self._ports = {"proxmox": proxmox_port, "factory": factory_port, "page": 0}
        self._temporary = tempfile.TemporaryDirectory(prefix="rack-")
        self._directory = Path(self._temporary.name)
        authority = CertificateAuthority.create("simulated rack")
        self.ca_file = self._directory / "ca.pem"
        """The authority of the Proxmox VE server, for ``SSL_CERT_FILE``."""
        self.ca_file.write_bytes(authority.pem)
        self._tls = server_tls(authority, address, self._directory)
        self._page = Page(self)
        self._assemble()

    async def __aenter__(self) -> Rack:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            self._temporary.cleanup()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        self._temporary.cleanup()

    @property
    def endpoint(self) -> str:
        """The URL of the Proxmox VE API."""
        return f"https://{self.address}:{self._ports['proxmox']}/"

    @property
    def factory_url(self) -> str:
        """The URL of the image factory."""
        return self.factory.url

    @property
    def page_url(self) -> str:
        """The URL of the page that shows the rack to a person."""
        return self._page.url

    @property
    def vms(self) -> Mapping[int, Vm]:
        """The VMs and containers of the cluster, by their ids."""
        return self.proxmox.cluster.vms

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The Talos machines that have power, by their addresses."""
        return self.talos.machines

    async def start(self) -> None:
        """Switch on; a port of 0 becomes the one that was free."""
        await self.factory.start(self.address, self._ports["factory"])
        self._ports["factory"] = self.factory.port
        self._ports["proxmox"] = await self.proxmox.start(
            self.address, self._ports["proxmox"], self._tls
        )
        self._ports["page"] = await self._page.start(self.address, self._ports["page"])
        if self.kubernetes:
            self.kubernetes.start()

    async def stop(self) -> None:
        """Switch off."""
        await self._page.stop()
        await self.proxmox.stop()
        if self.kubernetes:
            await self.kubernetes.stop()
        await self.talos.stop()
        await self.factory.stop()

    async def lose_power(self) -> None:
        """Cut the power of the house. What is on disks stays, and the internet with its factory."""
        await self.proxmox.lose_power()
        await self.talos.stop()
        if self.kubernetes:
            await self.kubernetes.stop()

    async def restore_power(self) -> None:
        """Let the hosts boot again."""
        if self.kubernetes:
            self.kubernetes.start()
        await self.proxmox.boot(self.address, self._ports["proxmox"], self._tls)

    async def reset(self) -> None:
        """Go back to empty hosts, at the same endpoints and with the same token."""
        await self.stop()
        self._assemble()
        await self.start()

    def _assemble(self) -> None:
        self.requests = RequestLog()
        self.faults = Faults()
        self.factory = ImageFactory(self.requests, self.faults)
        self.talos = TalosSimulator(
            directory=self._directory,
            requests=self.requests,
            faults=self.faults,
            extensions_of=self.factory.extensions_of,
            on_power_off=lambda vmid: self.vms[vmid].lose_power(),
        )
        self.kubernetes = self._programs and KubernetesSimulator(
            self._programs, self.talos, self._directory
        )
        self.proxmox = ProxmoxSimulator(
            nodes=copy.deepcopy(self._hosts),
            token=self.api_token,
            guests=self.talos,
            images=Internet(self.factory),
            requests=self.requests,
            faults=self.faults,
        )
