"""The Proxmox hosts: online, new enough, with memory and cores for their machines, and a bridge."""

from __future__ import annotations

import re
from collections.abc import Iterator

from doctor.context import Context
from doctor.findings import CannotTellError, Finding, failure, gib, ok, warning
from settings.node import Node
from settings.problems import did_you_mean
from settings.wording import count

OLDEST = (8, 4)
"""The first Proxmox VE with the content type ``import`` for disk images (README step 1)."""
MIB = 1024**2


def check(context: Context) -> Iterator[Finding]:
    """Host by host; a host that is not there is told of once, and asked nothing."""
    online = context.proxmox.online()
    for host in context.hosts:
        if host not in online:
            fix = f"proxmox.hosts names it: {did_you_mean(host, online)}"
            yield failure(host, "is not a host of this Proxmox", fix)
        elif not online[host]:
            yield failure(host, "is offline", "start it, or take it out of proxmox.hosts")
        else:
            yield from _checked(context, host)


def _checked(context: Context, host: str) -> Iterator[Finding]:
    """One line that all is well, unless something is not."""
    status = context.proxmox.read(f"/nodes/{host}/status")
    nodes = [node for node in context.settings.machines if node.host == host]
    found = [
        *_version(host, str(status.get("pveversion", ""))),
        *_memory(context, host, nodes, status["memory"]),
        *_cores(context, host, nodes, int(status["cpuinfo"]["cpus"])),
    ]
    yield from found
    if not found:
        memory = gib(sum(node.memory_mib for node in nodes) * MIB)
        cores = sum(node.cores for node in nodes)
        yield ok(
            host,
            f"has room for {count(len(nodes), 'machine')}: {memory} of "
            f"{gib(status['memory']['total'])}, {cores} of {status['cpuinfo']['cpus']} cores",
        )


def _version(host: str, text: str) -> Iterator[Finding]:
    numbers = re.search(r"pve-manager/(\d+)\.(\d+)", text)
    if numbers is None:
        raise CannotTellError(f"{host} does not tell its version")
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        yield failure(
            host,
            f"runs Proxmox VE {numbers[1]}.{numbers[2]}, which cannot import disk images",
            f"upgrade it to {OLDEST[0]}.{OLDEST[1]} or newer",
        )


def _memory(
    context: Context, host: str, nodes: list[Node], memory: dict[str, int]
) -> Iterator[Finding]:
    """Neither more promised than there is, nor more asked for than is free at this moment.

    One alone is a warning: what is promised may never be used, and what is used may be a cache
    that gives way (ZFS' is counted as used). Both together are a failure. What our own machines
    have already is not asked for again.
    """
    strangers = sum(int(guest.get("maxmem", 0)) for guest in context.proxmox.strangers_on(host))
    planned = sum(node.memory_mib for node in nodes) * MIB
    running = {own.vm_id: own for own in context.proxmox.own_machines() if own.running}
    growth = sum(
        max(0, node.memory_mib * MIB - (own.memory if own and own.host == host else 0))
        for node in nodes
        for own in [running.get(node.vm_id)]
    )
    total = int(memory["total"])
    free = int(memory.get("available", total - int(memory["used"])))
    promised = (
        f"promises {gib(planned + strangers)} to its guests ({gib(planned)} to the castle), "
        f"and has {gib(total)}"
    )
    asked = f"has {gib(free)} of memory free, and {gib(growth)} are needed"
    fix = f"lower memory_mib of the machines on {host}, or move some: nodes.overrides.NAME.host"
    if planned + strangers > total and growth > free:
        yield failure(host, f"{asked}; it {promised}", fix)
    elif growth > free:
        yield warning(host, f"{asked}; a cache may give way", fix)
    elif planned + strangers > total:
        yield warning(host, promised, fix)


def _cores(context: Context, host: str, nodes: list[Node], cores: int) -> Iterator[Finding]:
    too_large = [node for node in nodes if node.cores > cores]
    for node in too_large:
        # qemu-server QemuServer.pm: "MAX n vcpus allowed per VM on this node"
        yield failure(
            host,
            f"has {count(cores, 'core')}, and starts no machine with more: {node.short_name} wants "
            f"{node.cores}",
            "lower its cores",
        )
    strangers = sum(int(guest.get("maxcpu", 0)) for guest in context.proxmox.strangers_on(host))
    planned = sum(node.cores for node in nodes)
    if not too_large and planned + strangers > cores:
        yield warning(
            host,
            f"has {count(cores, 'core')}, and its guests {planned + strangers} ({planned} the "
            "castle's): they will wait for each other when all are busy",
            "lower cores, if that matters",
        )


def bridge(context: Context) -> Iterator[Finding]:
    """The bridge that the machines are plugged into, on each host."""
    name = context.settings.network.bridge
    hosts = context.online_hosts()
    found = [finding for host in hosts for finding in _bridge(context, host, name)]
    yield from found
    if hosts and not found:
        yield ok(name, f"is a bridge of {', '.join(hosts)}")


def _bridge(context: Context, host: str, name: str) -> Iterator[Finding]:
    # Proxmox hides what the token may not use: it is as absent for us as for the machines.
    entries = context.proxmox.read(f"/nodes/{host}/network?type=any_bridge")
    active = {entry["iface"]: bool(int(entry.get("active") or 0)) for entry in entries}
    if name not in active:
        known = ", ".join(sorted(active)) or "none"
        fix = f"make it there, or choose another network.bridge; {host} has: {known}"
        yield failure(name, f"is not a bridge of {host} that the token may use", fix)
    elif not active[name]:
        yield warning(name, f"is not active on {host}", f"in a shell of {host}: ifup {name}")
