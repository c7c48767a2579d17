"""Requests about the whole cluster: nodes, tasks, pools."""

from __future__ import annotations

from collections.abc import Iterator

from . import errors
from .access import Access
from .call import Call, Route
from .model import VERSION, Cluster, Pool, Vm
from .tasks import Tasks


class ClusterRoutes:
    """What belongs to no single VM or storage."""

    def __init__(self, cluster: Cluster, tasks: Tasks, access: Access) -> None:
        self._access = access
        self._cluster = cluster
        self._tasks = tasks

    def __iter__(self) -> Iterator[Route]:
        yield "GET", "/version", self.version
        yield "GET", "/nodes", self.nodes
        yield "GET", "/cluster/nextid", self.next_id
        yield "GET", "/cluster/resources", self.resources
        yield "GET", "/cluster/status", self.status
        yield "GET", "/cluster/tasks", self.tasks
        yield "GET", "/nodes/{node}/tasks/{upid}/status", self.task_status
        yield "GET", "/nodes/{node}/tasks/{upid}/log", self.task_log
        yield "DELETE", "/nodes/{node}/tasks/{upid}", self.stop_task
        yield "GET", "/pools", self.pools
        yield "POST", "/pools", self.create_pool
        yield "PUT", "/pools", self.update_pool
        yield "DELETE", "/pools", self.delete_pool

    async def version(self, _: Call) -> object:
        """Tell the version of Proxmox VE on the node that answers: the first one."""
        return VERSION | {"version": next(iter(self._cluster.nodes.values())).version}

    async def nodes(self, _: Call) -> object:
        """List the nodes."""
        return [node.summary() for node in self._cluster.nodes.values()]

    async def next_id(self, call: Call) -> object:
        """Tell a free VM id, or whether one that is named is free."""
        if "vmid" in call.parameters:
            vmid = call.integer("vmid")
            if vmid in self._cluster.vms:
                raise errors.invalid_parameter("vmid", f"VM {vmid} already exists")
            return str(vmid)
        return str(self._cluster.next_id())

    async def resources(self, call: Call) -> object:
        """List VMs and containers, nodes, storages."""
        wanted = call.parameters.get("type")
        everything = {
            "vm": [self._vm_resource(vm) for vm in self._cluster.vms.values()],
            "node": [node.summary() for node in self._cluster.nodes.values()],
            "storage": [
                storage.summary()
                | {"id": f"storage/{node.name}/{storage.name}", "node": node.name}
                | {"type": "storage", "plugintype": storage.kind, "status": "available"}
                for node in self._cluster.nodes.values()
                for storage in node.storages
            ],
        }
        return [
            item for kind, items in everything.items() if wanted in (None, kind) for item in items
        ]

    async def status(self, _: Call) -> object:
        """Tell whether there is a quorum; a single host is no cluster (pve-manager
        ``PVE/API2/Cluster.pm``)."""
        self._access.require("/", "Sys.Audit")
        nodes = list(self._cluster.nodes.values())
        cluster = {
            "type": "cluster",
            "id": "cluster",
            "name": "rack",
            "nodes": len(nodes),
            "quorate": int(self._cluster.has_quorum),
            "version": len(nodes),
        }
        members = [
            {"type": "node", "id": f"node/{node.name}", "name": node.name, "level": ""}
            | {"nodeid": number, "online": int(node.online), "local": int(number == 1)}
            for number, node in enumerate(nodes, 1)
        ]
        return members if len(nodes) == 1 else [cluster, *members]

    async def tasks(self, _: Call) -> object:
        """List the tasks, those at work too."""
        return [task.summary() for task in self._tasks]

    async def task_status(self, call: Call) -> object:
        """Answer a poll."""
        return self._tasks.get(call.path["upid"]).status()

    async def task_log(self, call: Call) -> object:
        """Show what a task wrote."""
        return self._tasks.get(call.path["upid"]).log()

    async def stop_task(self, call: Call) -> object:
        """Stop a task; all of ours have ended before they can be stopped."""
        self._tasks.forget(call.path["upid"])
        return None

    async def pools(self, call: Call) -> object:
        """List the pools without, or show one with its members."""
        if "poolid" not in call.parameters:
            return [
                {"poolid": p.poolid, "comment": p.comment} for p in self._cluster.pools.values()
            ]
        pool = self._cluster.pool(call.parameters["poolid"])
        members = [self._vm_resource(self._cluster.vms[vmid]) for vmid in sorted(pool.vmids)]
        return [{"poolid": pool.poolid, "comment": pool.comment, "members": members}]

    async def create_pool(self, call: Call) -> object:
        """Make an empty pool."""
        poolid = call.require("poolid")
        if poolid in self._cluster.pools:
            raise errors.ProxmoxError(f"create pool failed: pool '{poolid}' already exists")
        comment = call.parameters.get("comment", "")
        self._cluster.pools[poolid] = Pool(poolid=poolid, comment=comment)
        return None

    async def update_pool(self, call: Call) -> object:
        """Change the comment, add VMs, or take them out (``delete=1``)."""
        pool = self._cluster.pool(call.require("poolid"))
        pool.comment = call.parameters.get("comment", pool.comment)
        vmids = {int(vmid) for vmid in call.parameters.get("vms", "").split(",") if vmid}
        if call.parameters.get("delete") == "1":
            pool.vmids -= vmids
        else:
            pool.vmids |= vmids
        return None

    async def delete_pool(self, call: Call) -> object:
        """Remove an empty pool."""
        pool = self._cluster.pool(call.require("poolid"))
        if pool.vmids:
            raise errors.ProxmoxError(
                f"delete pool failed: pool '{pool.poolid}' is not empty "
                f"(contains VM {min(pool.vmids)})"
            )
        del self._cluster.pools[pool.poolid]
        return None

    def _vm_resource(self, vm: Vm) -> dict[str, object]:
        pool = self._cluster.pool_of(vm)
        return (
            self._cluster.reported(vm)
            | {
                "type": vm.kind,
                "id": f"{vm.kind}/{vm.vmid}",
                "node": vm.node.name,
                "maxcpu": int(vm.config.get("cores", "1")) * int(vm.config.get("sockets", "1")),
            }
            | ({"pool": pool.poolid} if pool else {})
        )
