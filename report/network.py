"""The network as it is shown: every owner of addresses, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from report import model
from settings.models import Settings
from settings.node import Node


def of(settings: Settings) -> model.Network:
    """The network of a castle."""
    network = settings.network
    return model.Network(
        cidr=str(network.cidr),
        size=network.cidr.num_addresses,
        bridge=network.bridge,
        vlan=network.vlan,
        nameservers=tuple(map(str, settings.nameservers)),
        gateway=str(network.gateway),
        vip=str(settings.cluster.vip),
        ingress=str(settings.ingress_address),
        host=settings.whoami.host,
        spans=tuple(sorted(_spans(settings), key=lambda span: (span.offset, -span.count))),
    )


def _spans(settings: Settings) -> Iterator[model.Span]:
    start = int(settings.network.cidr.network_address)

    def span(
        kind: model.SpanKind, name: str, first: IPv4Address, last: IPv4Address | None = None
    ) -> model.Span:
        last = last or first
        return model.Span(
            kind=kind,
            name=name,
            first=str(first),
            last=str(last),
            offset=int(first) - start,
            count=int(last) - int(first) + 1,
        )

    yield span("router", "Router", settings.network.gateway)
    proxmox = _proxmox(settings)
    if proxmox and proxmox in settings.network.cidr and proxmox != settings.network.gateway:
        yield span("proxmox", "Proxmox API", proxmox)
    if dhcp := settings.network.dhcp:
        yield span("dhcp", "DHCP range", dhcp.first, dhcp.last)
    for run in _runs(settings.machines):
        yield span(run[0].role.value, _together(run), run[0].address, run[-1].address)
    yield span("vip", "VIP", settings.cluster.vip)
    yield span("pool", "MetalLB pool", settings.metallb.pool.first, settings.metallb.pool.last)
    yield span("ingress", "Ingress", settings.ingress_address)


def _proxmox(settings: Settings) -> IPv4Address | None:
    """The address of the Proxmox API, where it is one and not a name."""
    try:
        return IPv4Address(urlsplit(settings.proxmoxve.endpoint).hostname or "")
    except AddressValueError:
        return None


def _runs(machines: tuple[Node, ...]) -> Iterator[list[Node]]:
    """Machines of one role whose addresses follow each other, together."""
    run: list[Node] = []
    for node in sorted(machines, key=lambda node: node.address):
        if run and (node.role != run[-1].role or node.address != run[-1].address + 1):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


def _together(run: list[Node]) -> str:
    """One name for several machines: ``worker-1 to 3`` where their numbers follow each other."""
    numbers = [int(node.short_name.rpartition("-")[2]) for node in run]
    if len(run) > 1 and numbers == list(range(numbers[0], numbers[0] + len(run))):
        return f"{run[0].short_name} to {numbers[-1]}"
    return ", ".join(node.short_name for node in run)
