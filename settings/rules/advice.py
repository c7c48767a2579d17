"""What is not wrong, but should be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from settings.charts import Longhorn, Traefik
from settings.groups import Nodes
from settings.node import Node, Role
from settings.plan import default_replicas, plan_nodes
from settings.rules.services import not_public
from settings.running import RunningStack


def advice(groups: Mapping[str, Any], running: RunningStack) -> Iterator[str]:
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
    machines = plan_nodes(groups["cluster"], nodes, groups["proxmox"], running.hosts)
    yield from _migrations(machines, running)
    homes = [node.host for node in machines if node.role is Role.CONTROL_PLANE]
    if len(homes) > len(set(homes)):
        yield (
            f"{len(homes)} control planes share {len(set(homes))} of the hosts: "
            "etcd loses its majority when the wrong one goes down."
        )
    yield from _copies(groups["longhorn"], machines)
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


def _migrations(machines: Sequence[Node], running: RunningStack) -> Iterator[str]:
    """Name each machine that moves to another host, and why."""
    for node in machines:
        host = running.hosts.get(node.name)
        if host is not None and host != node.host:
            yield (
                f"{node.name} moves from the Proxmox host {host} to {node.host}, because "
                f"nodes.overrides.{node.short_name}.host says so or because {host} is not in "
                "proxmox.hosts."
            )


def _copies(longhorn: Longhorn, machines: Sequence[Node]) -> Iterator[str]:
    """Say if the copies of a volume cannot be on different Proxmox hosts."""
    hosts = {node.host for node in machines if node.data_disk_gib is not None}
    copies = longhorn.replicas or default_replicas(machines)
    if copies > 1 and len(hosts) == 1:
        yield (
            f"All {copies} copies of each Longhorn volume are on the Proxmox host {hosts.pop()}, "
            "the only one whose nodes have a data disk: volumes survive the loss of a node, but "
            "not of this host."
        )
