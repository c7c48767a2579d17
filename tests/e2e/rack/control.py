"""The hand on a rack that runs in another process: faults, requests, a fresh start.

Plain HTTP on loopback; what is sent and answered is JSON.

| Request | Does |
|---|---|
| ``GET /requests`` | lists what the rack was asked, in order |
| ``GET /faults`` | lists the faults, each with how often it ``struck`` |
| ``POST /faults`` | adds one: the fields of ``Fault`` |
| ``DELETE /faults`` | forgets them all |
| ``GET /machines`` | what happened on the machines: when, what and whose |
| ``POST /machines`` | sets the fields of the machines' ``Hand`` that it names |
| ``POST /tasks`` | sets ``import_s``: seconds that the disks of a new machine take |
| ``POST /hosts`` | sets ``report_s``, seconds between two reports of a host about its guests, and
``silent``, the names of the hosts that do not answer |
| ``POST /cluster`` | sets ``has_quorum``: whether the cluster of hosts can be changed |
| ``POST /power`` | cuts the power of the house, or with ``on`` gives it back |
| ``POST /locks`` | locks VMs, by their ids: ``backup`` …; empty unlocks, as ``qm unlock`` does |
| ``POST /reset`` | goes back to empty hosts, without any request or fault |
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aiohttp import web

from .faults import Fault, Kind

if TYPE_CHECKING:
    from .rack import Rack


class Control:
    """Serves one rack; it outlives every reset of it."""

    def __init__(self, rack: Rack) -> None:
        self._rack = rack
        app = web.Application()
        app.router.add_get("/requests", self._list_requests)
        app.router.add_get("/faults", self._list_faults)
        app.router.add_post("/faults", self._add_fault)
        app.router.add_delete("/faults", self._forget_faults)
        app.router.add_get("/machines", self._read_diary)
        app.router.add_post("/machines", self._order)
        app.router.add_post("/tasks", self._slow_down)
        app.router.add_post("/hosts", self._set_hosts)
        app.router.add_post("/cluster", self._change_cluster)
        app.router.add_post("/power", self._switch_power)
        app.router.add_post("/locks", self._lock)
        app.router.add_post("/reset", self._reset)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, address: str) -> str:
        """Listen on a free port, and return the URL."""
        await self._runner.setup()
        await web.TCPSite(self._runner, address, 0).start()
        return f"http://{address}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    async def _list_requests(self, _: web.Request) -> web.Response:
        fields = ("api", "method", "path")
        return web.json_response(
            [{name: getattr(request, name) for name in fields} for request in self._rack.requests]
        )

    async def _list_faults(self, _: web.Request) -> web.Response:
        return web.json_response([dataclasses.asdict(fault) for fault in self._rack.faults])

    async def _add_fault(self, request: web.Request) -> web.Response:
        fields = await request.json()
        kind = Kind(fields.pop("kind", Kind.REFUSED))
        self._rack.faults.append(Fault(kind=kind, **fields))
        return web.json_response(None)

    async def _forget_faults(self, _: web.Request) -> web.Response:
        self._rack.faults.clear()
        return web.json_response(None)

    async def _read_diary(self, _: web.Request) -> web.Response:
        return web.json_response(self._rack.talos.hand.diary)

    async def _order(self, request: web.Request) -> web.Response:
        hand = self._rack.talos.hand
        kinds = {field.name: type(getattr(hand, field.name)) for field in dataclasses.fields(hand)}
        for name, value in (await request.json()).items():
            setattr(hand, name, kinds[name](value))
        return web.json_response(None)

    async def _slow_down(self, request: web.Request) -> web.Response:
        self._rack.proxmox.tasks.import_s = float((await request.json())["import_s"])
        return web.json_response(None)

    async def _set_hosts(self, request: web.Request) -> web.Response:
        fields = await request.json()
        cluster = self._rack.proxmox.cluster
        cluster.report_s = float(fields.get("report_s", cluster.report_s))
        if "silent" in fields:
            for node in cluster.nodes.values():
                node.online = node.name not in fields["silent"]
        return web.json_response(None)

    async def _change_cluster(self, request: web.Request) -> web.Response:
        self._rack.proxmox.cluster.has_quorum = bool((await request.json())["has_quorum"])
        return web.json_response(None)

    async def _switch_power(self, request: web.Request) -> web.Response:
        switch = self._rack.restore_power if (await request.json())["on"] else self._rack.lose_power
        await switch()
        return web.json_response(None)

    async def _lock(self, request: web.Request) -> web.Response:
        for vmid, lock in (await request.json()).items():
            self._rack.vms[int(vmid)].lock = lock
        return web.json_response(None)

    async def _reset(self, _: web.Request) -> web.Response:
        await self._rack.reset()
        return web.json_response(None)
