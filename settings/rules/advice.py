"""Warnings about valid settings with an effect that a user may not expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from settings.charts import Longhorn, Traefik
from settings.groups import Nodes
from settings.node import Node, Role
from settings.plan import default_replicas, plan_nodes
from settings.rules.services import not_public
from settings.running import RunningStack
from settings.wording import count


def advice(groups: Mapping[str, Any], running: RunningStack) -> Iterator[str]:
    """Yield warnings about valid settings, one text each."""
    nodes: Nodes = groups["nodes"]
    counts = {"control-plane": nodes.control_planes.count, "worker": nodes.workers.count}
    for short_name in sorted(nodes.overrides):
        role, _, number = short_name.rpartition("-")
        if int(number) > counts[role]:
            yield (
                f"nodes.overrides.{short_name} has no effect: there is no node of that name, "
                f"because the count of role {role} is {counts[role]}."
            )
    known_hosts = groups["proxmox"].hosts
    for short_name, override in sorted(nodes.overrides.items()):
        if override.host is not None and override.host not in known_hosts:
            yield (
                f"nodes.overrides.{short_name}.host {override.host} is not in proxmox.hosts. "
                "Ignore this warning if the name is correct."
            )
    machines = plan_nodes(groups["cluster"], nodes, groups["proxmox"], running.hosts)
    yield from _migrations(machines, running)
    hosts = [node.host for node in machines if node.role is Role.CONTROL_PLANE]
    if len(hosts) > len(set(hosts)):
        yield (
            f"{len(hosts)} control planes run on {count(len(set(hosts)), 'Proxmox host')}: etcd "
            "may lose its majority if one of these hosts fails."
        )
    yield from _copies(groups["longhorn"], machines)
    traefik: Traefik = groups["traefik"]
    if traefik.exposure == "host-network" and traefik.address is not None:
        yield (
            f"traefik.address {traefik.address} has no effect with traefik.exposure host-network: "
            f"forward ports 80 and 443 to the VIP {groups['cluster'].vip}."
        )
    email = traefik.acme.email
    if not_public(email.rpartition("@")[2]):
        yield (
            f"traefik.acme.email {email} is an example address: Let's Encrypt refuses an account "
            "with it, and issues no certificate. Write your own e-mail address."
        )


def _migrations(machines: Sequence[Node], running: RunningStack) -> Iterator[str]:
    """A warning for each VM that moves to another Proxmox host, with the reason."""
    for node in machines:
        host = running.hosts.get(node.name)
        if host is not None and host != node.host:
            yield (
                f"{node.name} moves from the Proxmox host {host} to {node.host}, because "
                f"nodes.overrides.{node.short_name}.host is set to it or because {host} is not in "
                "proxmox.hosts."
            )


def _copies(longhorn: Longhorn, machines: Sequence[Node]) -> Iterator[str]:
    """A warning if all copies of a volume are on one Proxmox host."""
    hosts = {node.host for node in machines if node.data_disk_gib is not None}
    copies = longhorn.replicas or default_replicas(machines)
    if copies > 1 and len(hosts) == 1:
        yield (
            f"All {copies} copies of each Longhorn volume are on the Proxmox host {hosts.pop()}, "
            "the only one whose nodes have a data disk: volumes survive the loss of a node, but "
            "not of this host."
        )
