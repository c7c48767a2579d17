"""Rules for addresses: inside the network, outside of the DHCP range and the pool, unique."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from settings.charts import MetalLB, Traefik
from settings.groups import Cluster, Endpoint, Network, Nodes
from settings.node import Node, Role
from settings.problems import Problem
from settings.values import AddressRange


def node_path(node: Node, nodes: Nodes, field: str) -> str:
    """Path of the setting that determines a field of a node: its override, or that of its role."""
    override = nodes.overrides.get(node.short_name)
    if override is not None and field in override.model_fields_set:
        return f"nodes.overrides.{node.short_name}.{field}"
    group = "control_planes" if node.role is Role.CONTROL_PLANE else "workers"
    key = "first_address" if field == "address" else field
    return f"nodes.{group}.{key}"


def _own_addresses(
    cluster: Cluster, nodes: Nodes, machines: Sequence[Node]
) -> Iterator[tuple[str, str, IPv4Address]]:
    """Path, shown value and address of the VIP and of each node."""
    yield "cluster.vip", str(cluster.vip), cluster.vip
    for node in machines:
        path = node_path(node, nodes, "address")
        # The first address of a role determines the addresses of several nodes.
        suffix = "" if ".overrides." in path else f" for {node.short_name}"
        yield path, f"{node.address}{suffix}", node.address


def _other_addresses(
    proxmoxve: Endpoint, network: Network
) -> Iterator[tuple[str, str, IPv4Address, str]]:
    """Path, shown value, address and owner of each address that is not of the cluster.

    Leaves out a host name in the Proxmox endpoint: rules do not query the DNS.
    """
    with contextlib.suppress(ValueError):
        host = IPv4Address(str(urllib.parse.urlsplit(proxmoxve.endpoint).hostname))
        yield "proxmoxve:endpoint", proxmoxve.endpoint, host, "Proxmox"
    yield "network.gateway", str(network.gateway), network.gateway, "the gateway"
    for server in network.nameservers:
        yield "network.nameservers", str(server), server, "a name server"


def _in_order(path: str, span: AddressRange) -> Iterator[Problem]:
    if span.last < span.first:
        yield Problem(
            path,
            str(span),
            "has a first address above its last address",
            f"write {span.last}-{span.first}",
        )


def dhcp_in_order(network: Network) -> Iterator[Problem]:
    """The first address of the DHCP range is not above the last."""
    if network.dhcp is not None:
        yield from _in_order("network.dhcp", network.dhcp)


def pool_in_order(metallb: MetalLB) -> Iterator[Problem]:
    """In MetalLB 0.16 the CRD accepts a range from high to low, and only the webhook refuses it."""
    yield from _in_order("metallb.pool", metallb.pool)


def pool_large_enough(metallb: MetalLB, traefik: Traefik) -> Iterator[Problem]:
    """With ``load-balancer``, Traefik takes one address; other Services need more addresses."""
    if traefik.exposure == "load-balancer" and metallb.pool.size == 1:
        yield Problem(
            "metallb.pool",
            str(metallb.pool),
            "has only one address, and Traefik takes it: "
            "every other Service of type LoadBalancer would stay pending",
            "extend the pool to at least 2 addresses",
        )


def _unusable(address: IPv4Address, cidr: IPv4Network) -> tuple[str, str] | None:
    if address not in cidr:
        return f"is outside of the network {cidr}", "choose an address inside network.cidr"
    if address == cidr.network_address:
        return f"is the network address of {cidr}", "choose a higher address"
    if address == cidr.broadcast_address:
        return f"is the broadcast address of {cidr}", "choose a lower address"
    return None


def addresses_in_network(
    network: Network, cluster: Cluster, nodes: Nodes, machines: Sequence[Node]
) -> Iterator[Problem]:
    """Gateway, VIP and node addresses are host addresses of the network."""
    gateway = ("network.gateway", str(network.gateway), network.gateway)
    for path, value, address in (gateway, *_own_addresses(cluster, nodes, machines)):
        if fault := _unusable(address, network.cidr):
            yield Problem(path, value, *fault)


def ranges_in_network(network: Network, metallb: MetalLB) -> Iterator[Problem]:
    """Both ranges are inside the network, without its network and broadcast address."""
    ranges = [("metallb.pool", metallb.pool)]
    if network.dhcp:
        ranges.append(("network.dhcp", network.dhcp))
    for path, span in ranges:
        for end in dict.fromkeys((span.first, span.last)):
            if fault := _unusable(end, network.cidr):
                yield Problem(path, str(span), f"{end} {fault[0]}", fault[1])


def addresses_outside_dhcp(
    network: Network, cluster: Cluster, nodes: Nodes, machines: Sequence[Node]
) -> Iterator[Problem]:
    """The router may lease any address of the DHCP range to another device."""
    for path, value, address in _own_addresses(cluster, nodes, machines):
        if network.dhcp is not None and address in network.dhcp:
            yield Problem(
                path,
                value,
                f"is inside the router's DHCP range {network.dhcp}",
                "choose an address outside of that range, or shrink the range in the router and in "
                "network.dhcp",
            )


def pool_outside_dhcp(network: Network, metallb: MetalLB) -> Iterator[Problem]:
    """MetalLB and the router must not assign the same address."""
    dhcp, pool = network.dhcp, metallb.pool
    if dhcp and pool.first <= dhcp.last and dhcp.first <= pool.last:
        yield Problem(
            "metallb.pool",
            str(pool),
            f"overlaps the router's DHCP range {dhcp}",
            "move the pool, or shrink the DHCP range in the router and in network.dhcp",
        )


def addresses_unique(
    proxmoxve: Endpoint,
    network: Network,
    cluster: Cluster,
    nodes: Nodes,
    machines: Sequence[Node],
) -> Iterator[Problem]:
    """Each address has one owner; the problem names both owners."""
    owners: dict[IPv4Address, list[tuple[str, str]]] = defaultdict(list)
    for path, _, address, owner in _other_addresses(proxmoxve, network):
        # Gateway and Proxmox may be name servers.
        if path != "network.nameservers" or address not in owners:
            owners[address].append((path, owner))
    owners[cluster.vip].append(("cluster.vip", "the VIP"))
    for node in machines:
        owners[node.address].append((node_path(node, nodes, "address"), node.short_name))
    for address, claims in owners.items():
        # Of two owners, the problem names an override as the setting to change.
        (_, first), *others = sorted(claims, key=lambda claim: ".overrides." in claim[0])
        for path, name in others:
            yield Problem(
                path,
                f"{address} for {name}",
                f"is also the address of {first}",
                f"choose another address for {name}",
            )


def addresses_outside_pool(
    proxmoxve: Endpoint,
    network: Network,
    cluster: Cluster,
    nodes: Nodes,
    machines: Sequence[Node],
    metallb: MetalLB,
) -> Iterator[Problem]:
    """MetalLB may assign any address of its pool, so no node or other device may have one."""
    reason = f"is inside the MetalLB pool {metallb.pool}"
    for path, value, address in _own_addresses(cluster, nodes, machines):
        if address in metallb.pool:
            fix = "choose an address outside of metallb.pool, or move the pool"
            yield Problem(path, value, reason, fix)
    for path, value, address, _ in _other_addresses(proxmoxve, network):
        if address in metallb.pool:
            yield Problem(path, value, reason, "move metallb.pool to other addresses")


def ingress_in_pool(metallb: MetalLB, traefik: Traefik) -> Iterator[Problem]:
    """MetalLB assigns only addresses of its pool."""
    if traefik.address is not None and traefik.address not in metallb.pool:
        yield Problem(
            "traefik.address",
            str(traefik.address),
            f"is outside of the MetalLB pool {metallb.pool}",
            "choose an address of metallb.pool, or remove the setting to use the first one",
        )


def workers_have_a_first_address(nodes: Nodes) -> Iterator[Problem]:
    """Node addresses are static, so workers need a first address."""
    if nodes.workers.count and nodes.workers.first_address is None:
        yield Problem(
            "nodes.workers.first_address",
            "missing",
            f"is required with {nodes.workers.count} workers",
            "write the address of the first worker; the others get the addresses after it",
        )


def addresses_within_last_octet(nodes: Nodes) -> Iterator[Problem]:
    """Node addresses of a role differ in the last octet only, so that they stay readable."""
    groups = (("control_planes", nodes.control_planes), ("workers", nodes.workers))
    for name, group in groups:
        if group.first_address is None or not group.count:
            continue
        last_octet = int(group.first_address) % 256
        if last_octet + group.count - 1 > 255:
            yield Problem(
                f"nodes.{name}.first_address",
                str(group.first_address),
                f"{group.count} addresses from here exceed .255 in the last octet",
                f"start at .{max(1, 255 - group.count)} or lower, or reduce nodes.{name}.count",
            )
