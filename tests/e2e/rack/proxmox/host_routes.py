"""What a host says of itself (pve-manager ``PVE/API2/Nodes.pm``, ``Network.pm``)."""

from __future__ import annotations

from collections.abc import Iterator

from . import errors
from .call import Call, Route
from .model import Cluster, Node


class HostRoutes:
    """Status and network of the hosts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __iter__(self) -> Iterator[Route]:
        yield "GET", "/nodes/{node}/status", self.status
        yield "GET", "/nodes/{node}/network", self.network

    async def status(self, call: Call) -> object:
        """Tell memory, cores and version."""
        node = self._online(call)
        return {
            "cpuinfo": {"cpus": node.cores, "cores": node.cores, "sockets": 1},
            "memory": {
                "total": node.memory,
                "used": node.memory_used,
                "free": node.memory - node.memory_used,
                "available": node.memory - node.memory_used,
            },
            "pveversion": f"pve-manager/{node.version}/simulated",
        }

    async def network(self, call: Call) -> object:
        """List the network devices: bridges are all that it has."""
        node = self._online(call)
        return [
            {"iface": bridge, "type": "bridge", "active": int(node.bridges_active)}
            for bridge in node.bridges
        ]

    def _online(self, call: Call) -> Node:
        node = self._cluster.node(call.path["node"])
        if not node.online:
            raise errors.unreachable_node()
        return node
