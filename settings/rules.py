"""The rules of the design that look at more than one setting, each with its own message.

A rule is a function that yields problems. Its parameters are the groups of settings that it looks
at, by name; it runs when all of them could be read, so that one group's mistake does not hide
another's. ``advice`` holds what is not wrong, but should be said.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from settings import certificates, compatibility, gitops, patches
from settings.models import (
    CONTROL_PLANE_CORES,
    CONTROL_PLANE_MIB,
    Cluster,
    Endpoint,
    Flux,
    Longhorn,
    MetalLB,
    Network,
    Nodes,
    Proxmox,
    Sops,
    Traefik,
    Whoami,
)
from settings.plan import WORKER_ID_OFFSET, Node, Role, plan_nodes
from settings.problems import Problem

Rule = Callable[..., Iterator[Problem]]

NOT_PUBLIC = ("example", "test", "invalid", "localhost", "local", "internal", "lan", "home.arpa")
"""Top-level names that no public certificate authority signs (RFC 2606, 6761, 6762, 8375, 9476)."""


def _node_path(node: Node, nodes: Nodes, field: str) -> str:
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
    path = _node_path(node, nodes, "address")
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
    cure = "choose an address outside of it, or shrink the range in the router and in network.dhcp"
    if cluster.vip in network.dhcp:
        yield Problem("cluster.vip", str(cluster.vip), reason, cure)
    for node in plan_nodes(cluster, nodes, proxmox):
        if node.address in network.dhcp:
            yield Problem(*_placed(node, nodes), reason, cure)


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
        owners[node.address].append((_node_path(node, nodes, "address"), node.short_name))
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
    cure = "choose an address outside of metallb.pool, or move the pool"
    if cluster.vip in metallb.pool:
        yield Problem("cluster.vip", str(cluster.vip), reason, cure)
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
            yield Problem(*_placed(node, nodes), reason, cure)


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


def vm_ids_free_of_overlap(cluster: Cluster, nodes: Nodes, proxmox: Proxmox) -> Iterator[Problem]:
    """Each machine has a VM id of its own."""
    taken: dict[int, Node] = {}
    for node in plan_nodes(cluster, nodes, proxmox):
        other = taken.setdefault(node.vm_id, node)
        if other is not node:
            # The one with an override is the one to change.
            override = nodes.overrides.get(node.short_name)
            blamed = node if override and override.vm_id is not None else other
            yield Problem(
                f"nodes.overrides.{blamed.short_name}.vm_id",
                str(node.vm_id),
                f"is the VM id of both {other.short_name} and {node.short_name}",
                f"choose an id outside of {proxmox.first_vm_id}-"
                f"{proxmox.first_vm_id + WORKER_ID_OFFSET + max(0, nodes.workers.count - 1)}",
            )


def overrides_keep_to_their_role(nodes: Nodes) -> Iterator[Problem]:
    """What is too little for a control plane is too little for one of them."""
    least = {"cores": CONTROL_PLANE_CORES, "memory_mib": CONTROL_PLANE_MIB}
    for name, override in sorted(nodes.overrides.items()):
        for key, limit in least.items():
            value = getattr(override, key)
            if name.startswith(Role.CONTROL_PLANE) and value is not None and value < limit:
                yield Problem(
                    f"nodes.overrides.{name}.{key}",
                    str(value),
                    f"is below the least that works for a control plane, {limit}",
                    f"choose {limit} or more",
                )


def replicas_have_disks(
    longhorn: Longhorn, cluster: Cluster, nodes: Nodes, proxmox: Proxmox
) -> Iterator[Problem]:
    """Longhorn keeps each copy of a volume on another node: hard anti-affinity."""
    carriers = [n for n in plan_nodes(cluster, nodes, proxmox) if n.data_disk_gib is not None]
    if not carriers:
        yield Problem(
            "nodes.workers.data_disk_gib",
            "none on any node",
            "Longhorn, and with it Traefik's certificates, needs a data disk to live on",
            "give the workers a data_disk_gib; with 0 workers, give it to nodes.control_planes",
        )
    elif longhorn.replicas is not None and longhorn.replicas > len(carriers):
        count = len(carriers)
        yield Problem(
            "longhorn.replicas",
            str(longhorn.replicas),
            f"only {count} {'node carries' if count == 1 else 'nodes carry'} a data disk: "
            "every volume would stay degraded",
            f"choose {count} or less, or add nodes with a data disk",
        )


def backups_leave_the_castle(
    longhorn: Longhorn,
    cluster: Cluster,
    nodes: Nodes,
    proxmox: Proxmox,
    metallb: MetalLB,
) -> Iterator[Problem]:
    """A backup on a machine of the castle goes when the castle goes."""
    if longhorn.backup is None:
        return
    server = longhorn.backup.target.removeprefix("nfs://").partition(":")[0]
    try:
        address = IPv4Address(server)
    except ValueError:
        return  # a name: what it stands for is the network's to know
    owners = {node.address: node.short_name for node in plan_nodes(cluster, nodes, proxmox)}
    owners[cluster.vip] = "the VIP"
    owner = owners.get(address) or ("MetalLB's pool" if address in metallb.pool else None)
    if owner:
        yield Problem(
            "longhorn.backup.target",
            longhorn.backup.target,
            f"belongs to the castle itself ({owner}): the backups would go with it",
            "name a share on another machine of the house",
        )


def snapshot_can_be_opened(cluster: Cluster, sops: Sops) -> Iterator[Problem]:
    """A snapshot is encrypted for the castle's age key."""
    if cluster.restore_from is not None and sops.age_key is None:
        yield Problem(
            "sops.age_key",
            "missing",
            f"cluster.restore_from {cluster.restore_from} is encrypted for it",
            "put in the key that the snapshot was made with: "
            "pulumi config set --secret --path ephemeral-castle:sops.age_key",
        )


def data_disk_told_apart(cluster: Cluster, nodes: Nodes, proxmox: Proxmox) -> Iterator[Problem]:
    """Talos finds the data disk by its size, so it must not be the size of the OS disk."""
    said = set()
    for node in plan_nodes(cluster, nodes, proxmox):
        path = _node_path(node, nodes, "data_disk_gib")
        if node.data_disk_gib == node.os_disk_gib and path not in said:
            said.add(path)
            yield Problem(
                path,
                str(node.data_disk_gib),
                f"is the size of the OS disk of {node.short_name} too: "
                "the data disk is found by its size",
                "make the two differ by at least 1 GiB",
            )


def kept_disks_are_there(cluster: Cluster, nodes: Nodes, proxmox: Proxmox) -> Iterator[Problem]:
    """Only a data disk can be kept."""
    planned = plan_nodes(cluster, nodes, proxmox)
    for role, name, group in (
        (Role.CONTROL_PLANE, "control_planes", nodes.control_planes),
        (Role.WORKER, "workers", nodes.workers),
    ):
        disks = [node.data_disk_gib for node in planned if node.role is role]
        if group.keep_data_disk_on_destroy and disks and not any(disks):
            yield Problem(
                f"nodes.{name}.keep_data_disk_on_destroy",
                "true",
                "none of them has a data disk to keep",
                f"give nodes.{name} a data_disk_gib, or leave it out",
            )


def acme_production_needs_a_public_host(traefik: Traefik, whoami: Whoami) -> Iterator[Problem]:
    """Let's Encrypt signs public names only; failed tries count against its rate limits."""
    wildcards = traefik.acme.dns.wildcards if traefik.acme.dns else ()
    wanted = [("whoami.host", whoami.host)]
    wanted += [("traefik.acme.dns.wildcards", domain) for domain in wildcards]
    for path, name in wanted:
        if traefik.acme.server == "production" and not_public(name):
            yield Problem(
                "traefik.acme.server",
                "production",
                f"{path} {name} is not a public name: Let's Encrypt will never sign it",
                "use a name of a domain that you own, or server: staging",
            )


def host_network_needs_one_control_plane(traefik: Traefik, nodes: Nodes) -> Iterator[Problem]:
    """The VIP floats between control planes, Traefik's pod does not follow it (facts/charts 2)."""
    if traefik.exposure == "host-network" and nodes.control_planes.count > 1:
        yield Problem(
            "traefik.exposure",
            "host-network",
            f"with {nodes.control_planes.count} control planes the VIP may stand on another one "
            "than Traefik: ports 80 and 443 would be dead",
            "use load-balancer, or one control plane",
        )


def chart_repositories(
    longhorn: Longhorn, metallb: MetalLB, traefik: Traefik, flux: Flux | None
) -> Iterator[Problem]:
    """A chart comes from an address, or from a folder where it is."""
    for group, name, chart in (
        ("longhorn", "longhorn", longhorn),
        ("metallb", "metallb", metallb),
        ("traefik", "traefik", traefik),
        ("flux", "flux-operator", flux),
    ):
        place = chart.chart_repository if chart else "https://none"
        if re.fullmatch(r"(https?|oci)://[^\s/]+\S*", place):
            continue
        if not (Path(place) / name / "Chart.yaml").is_file():
            yield Problem(
                f"{group}.chart_repository",
                place or '""',
                f"is neither an address nor a folder with {name}/Chart.yaml in it",
                "write https://..., oci://..., or the path of such a folder",
            )


def not_public(host: str) -> bool:
    """Whether a name can only be known at home: no certificate authority signs it."""
    names = (*NOT_PUBLIC, "example.com", "example.net", "example.org")
    return any(host == name or host.endswith(f".{name}") for name in names)


BEFORE_PLAN: tuple[Rule, ...] = (workers_have_a_first_address, run_within_last_octet)
"""Rules without which the machines cannot be laid out."""

RULES: tuple[Rule, ...] = (
    dhcp_in_order,
    pool_in_order,
    pool_large_enough,
    addresses_in_network,
    ranges_in_network,
    nothing_in_dhcp,
    pool_outside_dhcp,
    one_owner_each,
    nothing_in_pool,
    ingress_in_pool,
    vm_ids_free_of_overlap,
    overrides_keep_to_their_role,
    replicas_have_disks,
    backups_leave_the_castle,
    snapshot_can_be_opened,
    data_disk_told_apart,
    kept_disks_are_there,
    acme_production_needs_a_public_host,
    certificates.what_is_kept_is_encrypted,
    certificates.the_dns_provider_lets_traefik_in,
    host_network_needs_one_control_plane,
    compatibility.talos_and_kubernetes,
    chart_repositories,
    compatibility.charts,
    compatibility.flux_chart,
    compatibility.packages,
    gitops.secret_fits_its_url,
    gitops.git_host_is_known,
    patches.patches_are_known,
    patches.patches_leave_the_castle_alone,
)
"""Rules that run once the machines can be laid out."""


def broken(groups: Mapping[str, Any], rules: Iterable[Rule] = RULES) -> Iterator[Problem]:
    """What the groups that could be read break of the rules.

    ``groups`` maps the name of a group (``network``) to its model; a group that could not be read
    is absent, and so are the rules that need it.
    """
    if "nodes" in groups:
        unplaced = [problem for rule in BEFORE_PLAN for problem in rule(groups["nodes"])]
        yield from unplaced
        if unplaced:
            groups = {name: group for name, group in groups.items() if name != "nodes"}
    for rule in rules:
        needs = inspect.signature(rule).parameters
        if all(need in groups for need in needs):
            yield from rule(**{need: groups[need] for need in needs})


def advice(groups: Mapping[str, Any]) -> Iterator[str]:
    """What is not wrong, but would surprise: one sentence each."""
    nodes: Nodes = groups["nodes"]
    counts = {"control-plane": nodes.control_planes.count, "worker": nodes.workers.count}
    for short_name in sorted(nodes.overrides):
        role, _, number = short_name.rpartition("-")
        if int(number) > counts[role]:
            yield (
                f"nodes.overrides.{short_name} waits for a machine of that name: "
                f"there {'is' if counts[role] == 1 else 'are'} {counts[role]} of role {role}."
            )
    known_hosts = groups["proxmox"].hosts
    for short_name, override in sorted(nodes.overrides.items()):
        if override.host is not None and override.host not in known_hosts:
            yield (
                f"nodes.overrides.{short_name}.host {override.host} is not one of proxmox.hosts: "
                "if that is its right name, all is well."
            )
    machines = plan_nodes(groups["cluster"], nodes, groups["proxmox"])
    homes = [node.host for node in machines if node.role is Role.CONTROL_PLANE]
    if len(homes) > len(set(homes)):
        yield (
            f"{len(homes)} control planes share {len(set(homes))} of the hosts: "
            "etcd loses its majority when the wrong one goes down."
        )
    traefik: Traefik = groups["traefik"]
    if traefik.exposure == "host-network" and traefik.address is not None:
        yield (
            f"traefik.address {traefik.address} counts only with load-balancer: "
            f"forward ports 80 and 443 to the VIP {groups['cluster'].vip}."
        )
    email = traefik.acme.email
    if not_public(email.rpartition("@")[2]):
        yield (
            f"traefik.acme.email {email} is an example's address: Let's Encrypt will not make an "
            "account for it. Write your own before certificates matter."
        )
