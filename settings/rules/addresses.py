"""Rules on addresses: in the network, outside of DHCP, one owner each."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from settings.charts import MetalLB, Traefik
from settings.groups import Cluster, Endpoint, Network, Nodes, Proxmox
from settings.node import Node, Role
from settings.plan import plan_nodes
from settings.problems import Problem


def node_path(node: Node, nodes: Nodes, field: str) -> str:
    override = nodes.overrides.get(node.short_name)
    if override is not None and field in override.model_fields_set:
        return f"nodes.overrides.{node.short_name}.{field}"
    group = "control_planes" if node.role is Role.CONTROL_PLANE else "workers"
    key = "first_address" if field == "address" else field
    return f"nodes.{group}.{key}"


def _value(node: Node, path: str) -> str:
    """The address, with the machine's name where the setting itself names only the first one."""
    return f"{node.address}" if "overrides" in path else f"{node.address} for {node.short_name}"


def _placed(node: Node, nodes: Nodes) -> tuple[str, str]:
    path = node_path(node, nodes, "address")
    return path, _value(node, path)


def dhcp_in_order(network: Network) -> Iterator[Problem]:
    """The router's range reads from low to high."""
    if network.dhcp is not None and network.dhcp.last < network.dhcp.first:
        yield Problem(
            "network.dhcp",
            str(network.dhcp),
            "ends before it begins",
            f"write {network.dhcp.last}-{network.dhcp.first}",
        )


def pool_in_order(metallb: MetalLB) -> Iterator[Problem]:
    """MetalLB's webhook refuses a range that ends before it begins (facts/charts.md 3)."""
    if metallb.pool.last < metallb.pool.first:
        yield Problem(
            "metallb.pool",
            str(metallb.pool),
            "ends before it begins",
            f"write {metallb.pool.last}-{metallb.pool.first}",
        )


def pool_large_enough(metallb: MetalLB, traefik: Traefik) -> Iterator[Problem]:
    """Behind MetalLB, Traefik takes one address; a pool of one has none left for anything else."""
    if traefik.exposure == "load-balancer" and metallb.pool.size == 1:
        yield Problem(
            "metallb.pool",
            str(metallb.pool),
            "has one address, which Traefik takes: "
            "the next Service of type LoadBalancer would stay pending for ever",
            "give it at least 2 addresses",
        )


def _unusable(address: IPv4Address, cidr: IPv4Network) -> tuple[str, str] | None:
    if address not in cidr:
        return f"lies outside of the network {cidr}", "choose an address inside network.cidr"
    if address == cidr.network_address:
        return f"is the network address of {cidr}", "choose the next one"
    if address == cidr.broadcast_address:
        return f"is the broadcast address of {cidr}", "choose a lower one"
    return None


def addresses_in_network(
    network: Network, cluster: Cluster, nodes: Nodes, proxmox: Proxmox
) -> Iterator[Problem]:
    """Every address of a machine, the VIP and the gateway is a host address of the network."""
    owned = [("network.gateway", str(network.gateway), network.gateway)]
    owned.append(("cluster.vip", str(cluster.vip), cluster.vip))
    for node in plan_nodes(cluster, nodes, proxmox):
        owned.append((*_placed(node, nodes), node.address))
    for path, value, address in owned:
        if fault := _unusable(address, network.cidr):
            yield Problem(path, value, *fault)


def ranges_in_network(network: Network, metallb: MetalLB) -> Iterator[Problem]:
    """Both ranges lie inside the network, and neither holds its first or last address."""
    ranges = [("metallb.pool", metallb.pool)]
    if network.dhcp:
        ranges.append(("network.dhcp", network.dhcp))
    for path, span in ranges:
        for end in dict.fromkeys((span.first, span.last)):
            if fault := _unusable(end, network.cidr):
                yield Problem(path, str(span), f"{end} {fault[0]}", fault[1])


def nothing_in_dhcp(
    network: Network, cluster: Cluster, nodes: Nodes, proxmox: Proxmox
) -> Iterator[Problem]:
    """An address that the router may lend to a telephone cannot be a machine's or the VIP."""
    if network.dhcp is None:
        return
    reason = f"lies in the router's DHCP range {network.dhcp}"
    fix = "choose an address outside of it, or shrink the range in the router and in network.dhcp"
    if cluster.vip in network.dhcp:
        yield Problem("cluster.vip", str(cluster.vip), reason, fix)
    for node in plan_nodes(cluster, nodes, proxmox):
        if node.address in network.dhcp:
            yield Problem(*_placed(node, nodes), reason, fix)


def pool_outside_dhcp(network: Network, metallb: MetalLB) -> Iterator[Problem]:
    """MetalLB and the router must never hand out the same address."""
    dhcp, pool = network.dhcp, metallb.pool
    if dhcp and pool.first <= dhcp.last and dhcp.first <= pool.last:
        yield Problem(
            "metallb.pool",
            str(pool),
            f"overlaps the router's DHCP range {dhcp}",
            "move the pool, or shrink the range in the router and in network.dhcp",
        )


def _host_address(proxmoxve: Endpoint) -> IPv4Address | None:
    """Proxmox' address; none for a host name, as the network alone knows what it stands for."""
    with contextlib.suppress(ValueError):
        return IPv4Address(str(urllib.parse.urlsplit(proxmoxve.endpoint).hostname))
    return None


def one_owner_each(
    proxmoxve: Endpoint,
    network: Network,
    cluster: Cluster,
    nodes: Nodes,
    proxmox: Proxmox,
) -> Iterator[Problem]:
    """No two things may own one address; both are named."""
    owners: dict[IPv4Address, list[tuple[str, str]]] = defaultdict(list)
    host = _host_address(proxmoxve)
    if host is not None:
        owners[host].append(("proxmoxve:endpoint", "Proxmox itself"))
    owners[network.gateway].append(("network.gateway", "the gateway"))
    for server in network.nameservers:
        if server not in owners:  # the gateway, or Proxmox, may well be one
            owners[server].append(("network.nameservers", "a name server"))
    owners[cluster.vip].append(("cluster.vip", "the VIP"))
    for node in plan_nodes(cluster, nodes, proxmox):
        owners[node.address].append((node_path(node, nodes, "address"), node.short_name))
    for address, claims in owners.items():
        # The one with an override is the one to change.
        (_, first), *others = sorted(claims, key=lambda claim: ".overrides." in claim[0])
        for path, name in others:
            yield Problem(
                path,
                f"{address} for {name}",
                f"belongs to {first} already",
                f"give {name} an address of its own",
            )


def nothing_in_pool(
    proxmoxve: Endpoint,
    network: Network,
    cluster: Cluster,
    nodes: Nodes,
    proxmox: Proxmox,
    metallb: MetalLB,
) -> Iterator[Problem]:
    """What MetalLB hands out cannot be what the house or the castle has already."""
    reason = f"lies in the MetalLB pool {metallb.pool}"
    fix = "choose an address outside of metallb.pool, or move the pool"
    if cluster.vip in metallb.pool:
        yield Problem("cluster.vip", str(cluster.vip), reason, fix)
    if network.gateway in metallb.pool:
        yield Problem("network.gateway", str(network.gateway), reason, "move the pool")
    for server in network.nameservers:
        if server in metallb.pool:
            yield Problem("network.nameservers", str(server), reason, "move the pool")
    host = _host_address(proxmoxve)
    if host is not None and host in metallb.pool:
        yield Problem("proxmoxve:endpoint", proxmoxve.endpoint, reason, "move the pool")
    for node in plan_nodes(cluster, nodes, proxmox):
        if node.address in metallb.pool:
            yield Problem(*_placed(node, nodes), reason, fix)


def ingress_in_pool(metallb: MetalLB, traefik: Traefik) -> Iterator[Problem]:
    """MetalLB gives a Service only an address of its own pool."""
    if traefik.address is not None and traefik.address not in metallb.pool:
        yield Problem(
            "traefik.address",
            str(traefik.address),
            f"lies outside of the MetalLB pool {metallb.pool}",
            "choose an address of metallb.pool, or leave it out to take the first one",
        )


def workers_have_a_first_address(nodes: Nodes) -> Iterator[Problem]:
    """Addresses are declared, never discovered."""
    if nodes.workers.count and nodes.workers.first_address is None:
        yield Problem(
            "nodes.workers.first_address",
            "missing",
            f"{nodes.workers.count} workers need addresses",
            "write the first one's address; the others follow it",
        )


def run_within_last_octet(nodes: Nodes) -> Iterator[Problem]:
    """A run of machines stays within one last octet, so that names and addresses stay readable."""
    groups = (("control_planes", nodes.control_planes), ("workers", nodes.workers))
    for name, group in groups:
        if group.first_address is None or not group.count:
            continue
        last_octet = int(group.first_address) % 256
        if last_octet + group.count - 1 > 255:
            yield Problem(
                f"nodes.{name}.first_address",
                str(group.first_address),
                f"a run of {group.count} from here leaves the last octet after .255",
                f"begin at .{max(1, 255 - group.count)} or lower, or lower nodes.{name}.count",
            )
