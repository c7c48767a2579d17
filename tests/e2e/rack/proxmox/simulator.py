"""A whole simulated Proxmox VE cluster."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from ..faults import Faults
from ..request_log import RequestLog
from .access import Access
from .access_routes import AccessRoutes
from .cluster_routes import ClusterRoutes
from .guests import Guests
from .host_routes import HostRoutes
from .images import Images
from .model import Cluster, Node
from .server import ProxmoxServer
from .storage_routes import StorageRoutes
from .tasks import Tasks
from .vm_routes import VmRoutes


class ProxmoxSimulator:
    """The state of a cluster and the server that shows it."""

    def __init__(
        self,
        *,
        nodes: Iterable[Node],
        token: str,
        guests: Guests,
        images: Images,
        requests: RequestLog,
        faults: Faults,
    ) -> None:
        self.cluster = Cluster(nodes)
        self.access = Access()
        self.tasks = Tasks()
        self._vm_routes = VmRoutes(self.cluster, self.tasks, guests, self.access)
        routes = [
            *AccessRoutes(self.access),
            *ClusterRoutes(self.cluster, self.tasks, self.access),
            *HostRoutes(self.cluster, self.access),
            *StorageRoutes(self.cluster, self.tasks, images, self.access),
            *self._vm_routes,
        ]
        self._server = ProxmoxServer(
            routes=routes,
            require_answer=self.cluster.require_answer,
            token=token,
            requests=requests,
            faults=faults,
            tasks=self.tasks,
            has_quorum=lambda: self.cluster.has_quorum,
        )

    async def start(self, address: str, port: int, tls: ssl.SSLContext) -> int:
        """Serve the API, and return its port."""
        return await self._server.start(address, port, tls)

    async def stop(self) -> None:
        """Stop serving."""
        await self._server.stop()

    async def lose_power(self) -> None:
        """Switch all hosts off in the middle of what they do."""
        await self.stop()
        self.tasks.lose_power()
        self.cluster.lose_power()

    async def boot(self, address: str, port: int, tls: ssl.SSLContext) -> None:
        """Switch all hosts on again: they serve the API, and start the VMs that start on boot."""
        self.cluster.boot()
        await self.start(address, port, tls)
        await self._vm_routes.start_on_boot()
