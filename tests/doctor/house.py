"""A house that a castle can be built in: a simulated rack, chart repository and router."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import Any
from unittest import mock

import yaml
from aiohttp import web as http

from clients.proxmox import api as proxmox_api
from doctor import presence, web
from doctor.context import Context
from doctor.examine import Examined, examine
from doctor.findings import Finding, Result
from doctor.presence import Presence
from doctor.probes import Probes, connect
from doctor.proxmox import Proxmox
from settings.load import TOKEN, load
from settings.models import Settings
from tests.e2e.lab import on_rack
from tests.e2e.rack.proxmox.model import Pool
from tests.e2e.rack.rack import Rack

PUBLIC = IPv4Address("20.30.40.50")
"""The address that the router has towards the internet."""
CHARTS = ("longhorn", "metallb", "traefik")


class FakeHomelab:
    """All that the doctor looks at, on loopback; a test breaks one thing of it."""

    def __init__(self, rack: Rack, prefix: str, repository: str) -> None:
        self.rack = rack
        self.prefix = prefix
        self.index: dict[str, list[dict[str, str]]] = {}
        """What the chart repository has."""
        self.seen: dict[IPv4Address, Presence] = {}
        """Who is seen at addresses, beside whoever listens there."""
        self.names: dict[str, list[IPv4Address]] = {"tazlab.net": [PUBLIC]}
        self.public: IPv4Address | None = PUBLIC
        self.cli = "v3.259.0"
        self.chart_requests: list[str] = []
        self._sockets = ExitStack()
        endpoints = {"endpoint": rack.endpoint, "factory_url": rack.factory_url}
        self.config = on_rack(endpoints, prefix, ["pve1", "pve2"])
        self.config["ephemeral-castle:traefik"]["acme"]["email"] = "me@tazlab.net"
        for chart in CHARTS:
            self.config[f"ephemeral-castle:{chart}"]["chart_repository"] = repository
        self.config[TOKEN] = rack.api_token
        for chart in CHARTS:
            version = getattr(self.settings, chart).chart_version
            self.index[chart] = [{"version": "0.0.1"}, {"version": version}]

    def close(self) -> None:
        """Close what listens."""
        self._sockets.close()

    def set(self, path: str, value: Any) -> None:
        """Change a setting: ``nodes.workers.count``."""
        group, *keys = path.split(".")
        full = group if ":" in group else f"ephemeral-castle:{group}"
        if not keys:
            self.config[full] = value
            return
        holder = self.config.setdefault(full, {})
        for key in keys[:-1]:
            holder = holder.setdefault(key, {})
        holder[keys[-1]] = value

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.config.items()}
        with mock.patch.dict(os.environ, {"PROXMOX_VE_API_TOKEN": texts.pop(TOKEN)}):
            return load(texts, "homelab")

    def address(self, last: int) -> IPv4Address:
        """An address of the castle's network."""
        return IPv4Address(f"{self.prefix}.{last}")

    def listen(self, address: IPv4Address, port: int = 50000) -> None:
        """Let somebody be at an address."""
        server = self._sockets.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((str(address), port))
        server.listen()

    def build(self) -> None:
        """Let the castle stand, as an ``up`` leaves it."""
        settings = self.settings
        cluster = self.rack.proxmox.cluster
        for node in settings.machines:
            vm = cluster.add_foreign(
                node.vm_id,
                node=node.host,
                config={
                    "name": node.name,
                    "tags": f"{settings.stack_tag};{node.role};talos",
                    "memory": str(node.memory_mib),
                    "cores": str(node.cores),
                    "ipconfig0": f"gw={settings.network.gateway},ip={node.address}/24",
                    "scsi0": f"local-lvm:vm-{node.vm_id}-disk-0,size={node.os_disk_gib}G",
                },
            )
            if node.data_disk_gib:
                disk = f"local-lvm:vm-{node.vm_id}-disk-1,size={node.data_disk_gib}G"
                vm.config["scsi1"] = disk
            self.listen(node.address)
        self.listen(settings.cluster.vip, 6443)
        self.listen(settings.ingress_address, 50000)
        name = str(settings.proxmox.pool)
        cluster.pools[name] = Pool(poolid=name, comment=f"Machines of {settings.stack_tag}")

    def probes(self) -> Probes:
        """The real probes where loopback can answer, and stand-ins for router and DNS."""
        return Probes(
            proxmox=proxmox_api.caller(self.settings.proxmoxve),
            certificate=web.certificate,
            fetch=web.fetch,
            presence=self._look,
            resolve=self._resolve,
            public_address=lambda router: self.public,
            connect=connect,
            cli_version=lambda: self.cli,
        )

    def _look(self, addresses: Collection[IPv4Address]) -> Mapping[IPv4Address, Presence]:
        return presence.look(addresses) | {a: self.seen[a] for a in addresses if a in self.seen}

    def _resolve(self, name: str) -> list[IPv4Address]:
        if name not in self.names:
            raise socket.gaierror("no such name")
        return self.names[name]

    async def examine(self, **probes: Any) -> list[Examined]:
        """Let the doctor look, with some probes replaced."""
        settings, found = self.settings, dataclasses.replace(self.probes(), **probes)
        context = Context(
            settings=settings,
            advice=(),
            probes=found,
            proxmox=Proxmox(found.proxmox, settings.stack_tag),
        )
        return await asyncio.to_thread(examine, context)

    async def troubles(self, **probes: Any) -> list[tuple[str, Finding]]:
        """Warnings and failures alone, each with the name of its check."""
        return [
            (one.check, finding)
            for one in await self.examine(**probes)
            for finding in one.findings
            if finding.result in (Result.WARNING, Result.FAILURE)
        ]


def repository(house: list[FakeHomelab]) -> http.Application:
    """A chart repository that serves the index of the house."""

    async def index(request: http.Request) -> http.Response:
        house[0].chart_requests.append(request.method)
        return http.Response(text=yaml.safe_dump({"entries": house[0].index}))

    app = http.Application()
    app.router.add_get("/charts/index.yaml", index)
    return app
