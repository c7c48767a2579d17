"""A stand-in for MetalLB's controller: Services of type LoadBalancer get their address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from .client import KubernetesClient

_ANNOTATION = "metallb.io/loadBalancerIPs"
_POOLS = "/apis/metallb.io/v1beta1/ipaddresspools"
_SERVICES = "/api/v1/services"


async def assign_addresses(client: KubernetesClient) -> None:
    """Give each Service that waits the address it asks for, or a free one.

    Like the real controller it gives no address that is in no pool, or that another Service has.
    """
    pools = await client.list(_POOLS)
    if not pools:
        return
    services = [
        service
        for service in await client.list(_SERVICES)
        if service["spec"].get("type") == "LoadBalancer"
    ]
    used = {_assigned(service) for service in services}
    free = [a for pool in pools for a in _addresses(pool) if a not in used]
    waiting = [service for service in services if not _assigned(service)]
    for service in sorted(waiting, key=_wanted, reverse=True):  # those who ask come first
        address = _wanted(service) or next(iter(free), "")
        if address in free:
            free.remove(address)
            await _assign(client, service, address)


def _assigned(service: dict[str, Any]) -> str:
    ingress = service["status"].get("loadBalancer", {}).get("ingress") or [{}]
    return str(ingress[0].get("ip", ""))


def _wanted(service: dict[str, Any]) -> str:
    return str(service["metadata"].get("annotations", {}).get(_ANNOTATION, ""))


async def _assign(client: KubernetesClient, service: dict[str, Any], address: str) -> None:
    metadata = service["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
    ingress = [{"ip": address, "ipMode": "VIP"}]
    await client.patch(path, {"status": {"loadBalancer": {"ingress": ingress}}})


def _addresses(pool: dict[str, Any]) -> Iterator[str]:
    for text in pool["spec"].get("addresses", []):
        first, dash, last = text.partition("-")
        if dash:
            start, end = int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
            yield from (str(ipaddress.ip_address(number)) for number in range(start, end + 1))
        else:
            yield from (str(address) for address in ipaddress.ip_network(text))
