"""``FakeHomelab``: a simulated rack, chart repository and DNS for the doctor."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from unittest import mock

import yaml
from aiohttp import web as http

from clients.proxmox import api as proxmox_api
from clients.proxmox.guests import mac_address
from doctor import address_probe, web
from doctor.address_probe import Presence
from doctor.all_checks import CheckFindings, collect_findings
from doctor.context import Context
from doctor.findings import Finding, Result
from doctor.probes import Probes, connect
from doctor.proxmox import Proxmox
from settings.load import TOKEN, load
from settings.models import Settings
from tests.e2e.lab import on_rack
from tests.e2e.rack.proxmox.model import Pool
from tests.e2e.rack.rack import Rack

PUBLIC = IPv4Address("20.30.40.50")
"""The address of the site in the DNS."""
CHARTS = ("longhorn", "metallb", "traefik")


class FakeHomelab:
    """Everything that the doctor checks, on loopback addresses. Without changes it is correct."""

    def __init__(self, rack: Rack, prefix: str, repository: str) -> None:
        self.rack = rack
        self.prefix = prefix
        self.index: dict[str, list[dict[str, Any]]] = {}
        """The index of the chart repository."""
        self.archives: set[str] = set()
        """Names of the archives that the repository has."""
        self.archive_status = 404
        self.devices: dict[IPv4Address, Presence] = {}
        """Devices at addresses, in addition to the listening sockets."""
        self.names: dict[str, list[IPv4Address]] = {"tazlab.net": [PUBLIC]}
        self.ipv6_names: dict[str, list[IPv6Address]] = {}
        self.silent_time_servers: set[str] = set()
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
            self.add_chart(chart, "0.0.1")
            self.add_chart(chart, version)

    def add_chart(self, chart: str, version: str) -> None:
        """Put a chart into the chart repository."""
        archive = f"{chart}-{version}.tgz"
        self.index.setdefault(chart, []).append({"version": version, "urls": [archive]})
        self.archives.add(archive)

    def lose_archive(self, name: str, *, status: int) -> None:
        """Answer with a status instead of an archive, which the index still lists."""
        self.archives.remove(name)
        self.archive_status = status

    def close(self) -> None:
        """Close the listening sockets."""
        self._sockets.close()

    def set(self, path: str, value: Any) -> None:
        """Change a setting by its path, such as ``nodes.workers.count``."""
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
        """The current settings."""
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.config.items()}
        with mock.patch.dict(os.environ, {"PROXMOX_VE_API_TOKEN": texts.pop(TOKEN)}):
            return load(texts, "homelab")

    def address(self, last: int) -> IPv4Address:
        """The address with this last number in the stack's network."""
        return IPv4Address(f"{self.prefix}.{last}")

    def listen(self, address: IPv4Address, port: int = 50000) -> None:
        """Open a port at an address."""
        server = self._sockets.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((str(address), port))
        server.listen()

    def deploy(self) -> None:
        """Create the VMs, the pool and the open ports of a running stack."""
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
                    "net0": f"virtio={mac_address(settings.stack_tag, node.vm_id)},bridge=vmbr0",
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
        """The real probes, but fakes for devices, DNS and Pulumi CLI."""
        return Probes(
            proxmox=proxmox_api.caller(self.settings.proxmoxve),
            certificate=web.read_certificate,
            fetch=web.fetch,
            probe_addresses=self._probe_addresses,
            resolve=self._resolve,
            resolve_ipv6=self._resolve_ipv6,
            connect=connect,
            ask_time=self._ask_time,
            cli_version=lambda: self.cli,
        )

    def _probe_addresses(
        self, addresses: Collection[IPv4Address]
    ) -> Mapping[IPv4Address, Presence]:
        return address_probe.probe_addresses(addresses) | {
            a: self.devices[a] for a in addresses if a in self.devices
        }

    def _ask_time(self, server: str) -> None:
        if server in self.silent_time_servers:
            raise TimeoutError

    def _resolve(self, name: str) -> list[IPv4Address]:
        if name not in self.names:
            raise socket.gaierror("no such name")
        return self.names[name]

    def _resolve_ipv6(self, name: str) -> list[IPv6Address]:
        if name not in self.ipv6_names:
            raise socket.gaierror("no such name")
        return self.ipv6_names[name]

    async def collect_findings(self, **replaced: Any) -> list[CheckFindings]:
        """Run all checks, with some probes replaced."""
        settings, probes = self.settings, dataclasses.replace(self.probes(), **replaced)
        context = Context(
            settings=settings,
            advice=(),
            probes=probes,
            proxmox=Proxmox(probes.proxmox, settings.stack_tag),
        )
        return await asyncio.to_thread(collect_findings, context)

    async def warnings_and_failures(self, **replaced: Any) -> list[tuple[str, Finding]]:
        """Run all checks; return warnings and failures, each with the name of its check."""
        return [
            (check.check, finding)
            for check in await self.collect_findings(**replaced)
            for finding in check.findings
            if finding.result in (Result.WARNING, Result.FAILURE)
        ]


def repository(homelabs: list[FakeHomelab]) -> http.Application:
    """A chart repository that serves the index of the first homelab in the list."""

    async def index(request: http.Request) -> http.Response:
        homelabs[0].chart_requests.append(request.method)
        return http.Response(text=yaml.safe_dump({"entries": homelabs[0].index}))

    async def archive(request: http.Request) -> http.Response:
        homelabs[0].chart_requests.append(request.method)
        if request.match_info["name"] not in homelabs[0].archives:
            return http.Response(status=homelabs[0].archive_status)
        return http.Response(status=206 if "Range" in request.headers else 200, body=b"1")

    app = http.Application()
    app.router.add_get("/charts/index.yaml", index)
    app.router.add_get("/charts/{name}", archive)
    return app
