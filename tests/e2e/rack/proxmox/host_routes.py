"""What a host says of itself (pve-manager ``PVE/API2/Nodes.pm``, ``Network.pm``)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from .access import Access
from .call import Call, Route
from .model import Cluster


class HostRoutes:
    """Status, clock and network of the hosts."""

    def __init__(self, cluster: Cluster, access: Access) -> None:
        self._access = access
        self._cluster = cluster

    def __iter__(self) -> Iterator[Route]:
        yield "GET", "/nodes/{node}/status", self.status
        yield "GET", "/nodes/{node}/time", self.time
        yield "GET", "/nodes/{node}/network", self.network

    async def status(self, call: Call) -> object:
        """Tell memory, processor and version."""
        self._access.require(f"/nodes/{call.path['node']}", "Sys.Audit")
        node = self._cluster.node(call.path["node"])
        return {
            "cpuinfo": {
                "cpus": node.cores,
                "cores": node.cores,
                "sockets": 1,
                "flags": node.cpu_flags,
            },
            "memory": {
                "total": node.memory,
                "used": node.memory_used,
                "free": node.memory - node.memory_used,
            }
            # Only Proxmox VE 9 has it.
            | (
                {}
                if node.version.startswith("8.")
                else {"available": node.memory - node.memory_used}
            ),
            "pveversion": f"pve-manager/{node.version}/simulated",
        }

    async def time(self, call: Call) -> object:
        """Tell the time in whole seconds (``localtime`` is the same number plus the offset of the
        time zone)."""
        self._access.require(f"/nodes/{call.path['node']}", "Sys.Audit")
        now = int(time.time() + self._cluster.node(call.path["node"]).clock_offset_s)
        return {"timezone": "Etc/UTC", "time": now, "localtime": now}

    async def network(self, call: Call) -> object:
        """List the network devices: bridges are all that it has."""
        node = self._cluster.node(call.path["node"])
        return [
            {"iface": bridge, "type": "bridge", "active": int(node.bridges_active)}
            for bridge in node.bridges
        ]
