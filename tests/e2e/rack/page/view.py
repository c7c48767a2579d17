"""What the page shows: the rack's state as plain values, with nothing secret in them.

Whatever a request or a machine carries is left out unless it is named here: a new parameter of a
provider must not show a secret that nobody thought of.
"""

from __future__ import annotations

import urllib.parse
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from ..proxmox.drives import Drive
from ..proxmox.model import Node, Vm
from ..proxmox.property_string import parse
from ..request_log import RequestLog
from ..talos.machine import Machine

if TYPE_CHECKING:
    from ..rack import Rack

LATEST = 100
"""How many requests are shown."""
_LENGTH = 160
"""Characters of a path or a value that are shown."""
_HARMLESS = frozenset(
    [
        *("content", "filename", "storage"),
        *("cores", "disk", "memory", "name", "pool", "poolid", "size", "tags", "vmid", "vms"),
        *("forceStop", "force", "purge", "timeout", "type"),
        *("node", "nodes"),
    ]
)
"""Parameters of requests that say what is done, and to what; no other is shown."""


def view(rack: Rack) -> dict[str, object]:
    """Describe the rack in values that JSON has."""
    machines = {machine.guest.vmid: machine for machine in rack.machines.values()}
    return {
        "endpoints": {"proxmox": rack.endpoint, "factory": rack.factory_url},
        "hosts": [_host(node, rack, machines) for node in rack.proxmox.cluster.nodes.values()],
        "addresses": [*_virtual_addresses(rack), *_machine_addresses(rack)],
        "images": [
            image for node in rack.proxmox.cluster.nodes.values() for image in _images(node)
        ],
        "requests": _requests(rack.requests),
    }


def _host(node: Node, rack: Rack, machines: dict[int, Machine]) -> dict[str, object]:
    guests = [vm for _, vm in sorted(rack.vms.items()) if vm.node is node]
    return {
        "name": node.name,
        "cores": node.cores,
        "memory": node.memory,
        "storages": [
            {
                "name": storage.name,
                "content": sorted(storage.content),
                "used": storage.total - storage.available,
                "total": storage.total,
            }
            for storage in node.storages
        ],
        "machines": [_machine(vm, machines.get(vm.vmid)) for vm in guests],
    }


def _machine(vm: Vm, machine: Machine | None) -> dict[str, object]:
    return {
        "id": vm.vmid,
        "name": vm.name,
        "kind": vm.kind,
        "state": "running" if vm.running else "stopped",
        "lock": vm.lock,
        "cores": vm.config.get("cores", "1"),
        "memory": int(vm.config.get("memory", "512")) * 1024**2,
        "tags": vm.config.get("tags", "").replace(";", " "),
        "disks": list(_disks(vm)),
        "address": machine.address if machine else "",
        "stage": machine.stage if machine else "",
        "talos": machine.version if machine else "",
        "role": _role(machine),
        "etcd": _etcd(machine),
    }


def _disks(vm: Vm) -> Iterator[dict[str, object]]:
    volumes = vm.volumes()
    for key, options in vm.drives():
        if volume := volumes.get(Drive(key, options).file):
            yield {"key": key, "size": volume.size, "of_image": bool(volume.url)}


def _role(machine: Machine | None) -> str:
    if machine is None or machine.config is None:
        return ""
    return "control plane" if machine.is_control_plane else "worker"


def _etcd(machine: Machine | None) -> str:
    if machine is None or not machine.is_control_plane:
        return ""
    return "member" if machine.installation.has_etcd_data else "waits for bootstrap"


def _machine_addresses(rack: Rack) -> Iterator[dict[str, object]]:
    for vm in rack.vms.values():
        address = parse(vm.config.get("ipconfig0", ""), "ip").get("ip", "").partition("/")[0]
        if address:
            what = "machine" if address in rack.machines else "machine without power"
            yield {"address": address, "what": what, "owner": vm.name}


def _virtual_addresses(rack: Rack) -> Iterator[dict[str, object]]:
    owners: dict[str, str] = {}
    for machine in rack.machines.values():
        if machine.config:
            owners |= dict.fromkeys(machine.config.vips, machine.config.cluster_name)
    alive = {vip for cluster in rack.talos.live_clusters() for vip in cluster.config.vips}
    for address, owner in owners.items():
        what = "virtual IP" if address in alive else "virtual IP, etcd does not run"
        yield {"address": address, "what": what, "owner": f"cluster {owner}"}


def _images(node: Node) -> Iterator[dict[str, object]]:
    for storage in node.storages:
        for volume in storage.volumes.values():
            if volume.vmid is None:
                yield {
                    "host": node.name,
                    "name": volume.volid,
                    "size": volume.size,
                    "source": _without_credentials(volume.url),
                }


def _without_credentials(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _requests(log: RequestLog) -> dict[str, object]:
    total = len(log)
    latest = islice(enumerate(reversed(log)), LATEST)
    return {
        "total": total,
        "by_api": Counter(request.api for request in log),
        "latest": [
            {
                "number": total - age,
                "api": request.api,
                "method": request.method,
                "path": request.path[:_LENGTH],
                "parameters": {
                    key: value[:_LENGTH]
                    for key, value in request.parameters.items()
                    if key in _HARMLESS
                },
            }
            for age, request in latest
        ],
    }
