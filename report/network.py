"""The network of the page: all used addresses, with their use."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from report import model
from settings.models import Settings
from settings.node import Node


def build_network(settings: Settings) -> model.Network:
    """Build the network of a stack from its settings."""
    network = settings.network
    return model.Network(
        cidr=str(network.cidr),
        first=str(network.cidr.network_address),
        last=str(network.cidr.broadcast_address),
        size=network.cidr.num_addresses,
        bridge=network.bridge,
        vlan=network.vlan,
        nameservers=tuple(map(str, settings.nameservers)),
        gateway=str(network.gateway),
        vip=str(settings.cluster.vip),
        ingress=str(settings.ingress_address),
        host=settings.whoami.host,
        spans=tuple(sorted(_build_spans(settings), key=lambda span: (span.offset, -span.count))),
    )


def _build_spans(settings: Settings) -> Iterator[model.Span]:
    start = int(settings.network.cidr.network_address)

    def span(
        kind: model.SpanKind,
        name: str,
        detail: str,
        first: IPv4Address,
        last: IPv4Address | None = None,
    ) -> model.Span:
        last = last or first
        return model.Span(
            kind=kind,
            name=name,
            detail=detail,
            first=str(first),
            last=str(last),
            offset=int(first) - start,
            count=int(last) - int(first) + 1,
        )

    ingress = settings.ingress_address
    forwards = f"gateway; forwards ports 80 and 443 to {ingress}"
    yield span("router", "Router", forwards, settings.network.gateway)
    proxmox = _proxmox_address(settings)
    if proxmox and proxmox in settings.network.cidr and proxmox != settings.network.gateway:
        yield span("proxmox", "Proxmox API", f"VMs use bridge {settings.network.bridge}", proxmox)
    if dhcp := settings.network.dhcp:
        yield span("dhcp", "DHCP range", f"{dhcp.size} addresses", dhcp.first, dhcp.last)
    for group in _group_nodes(settings.machines):
        role, first, last = group[0].role, group[0].address, group[-1].address
        detail = role.value.replace("-", " ") if len(group) == 1 else f"{len(group)} nodes"
        yield span(role.value, _group_name(group), detail, first, last)
    yield span("vip", "VIP", "Kubernetes API", settings.cluster.vip)
    pool = settings.metallb.pool
    yield span("pool", "MetalLB pool", f"{pool.size} addresses", pool.first, pool.last)
    yield span("ingress", "Ingress", f"Traefik for {settings.whoami.host}", ingress)


def _proxmox_address(settings: Settings) -> IPv4Address | None:
    """The address in ``proxmoxve:endpoint``; None if the setting has a host name."""
    try:
        return IPv4Address(urlsplit(settings.proxmoxve.endpoint).hostname or "")
    except AddressValueError:
        return None


def _group_nodes(nodes: tuple[Node, ...]) -> Iterator[list[Node]]:
    """Group nodes of one role with consecutive addresses."""
    group: list[Node] = []
    for node in sorted(nodes, key=lambda node: node.address):
        if group and (node.role != group[-1].role or node.address != group[-1].address + 1):
            yield group
            group = []
        group.append(node)
    if group:
        yield group


def _group_name(group: list[Node]) -> str:
    """One name for several nodes: ``worker-1 to 3`` if their numbers are consecutive."""
    numbers = [int(node.short_name.rpartition("-")[2]) for node in group]
    if len(group) > 1 and numbers == list(range(numbers[0], numbers[0] + len(group))):
        return f"{group[0].short_name} to {numbers[-1]}"
    return ", ".join(node.short_name for node in group)
