"""Checks of the Proxmox hosts: online, version, CPU, memory and cores for their VMs, bridge."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.machines import CPU_TYPE
from doctor.context import Context
from doctor.findings import CannotCheckError, Finding, failure, gib, note, ok, warning
from settings.node import Node
from settings.problems import did_you_mean
from settings.wording import count

MIN_VERSION = (8, 4)
"""The first version of Proxmox VE with the content type ``import`` for disk images."""
CPU_FLAGS = frozenset(["aes", "cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"])
"""The flags of the CPU type ``CPU_TYPE`` as ``/proc/cpuinfo`` names them (qemu-server
``PVE/QemuServer/CPUConfig.pm``). QEMU starts no VM on a host that lacks one (``enforce``)."""
MIB = 1024**2


def check_hosts(context: Context) -> Iterator[Finding]:
    """Check each host with VMs of the stack. For a missing or offline host, report only that."""
    online = context.proxmox.online()
    for host in context.hosts:
        if host not in online:
            fix = f"correct proxmox.hosts: {did_you_mean(host, online)}"
            yield failure(host, "is not a host of this Proxmox cluster", fix)
        elif not online[host]:
            fix = "start it; if it has no VM of the stack, you can remove it from proxmox.hosts"
            yield failure(host, "is offline", fix)
        else:
            yield from _check_host(context, host)


def _check_host(context: Context, host: str) -> Iterator[Finding]:
    """Check the version, CPU, memory and cores of an online host."""
    status = context.proxmox.read(f"/nodes/{host}/status")
    nodes = [node for node in context.settings.machines if node.host == host]
    found = [
        *_version(host, str(status.get("pveversion", ""))),
        *_cpu(host, frozenset(str(status["cpuinfo"].get("flags", "")).split())),
        *_memory(context, host, nodes, status["memory"]),
        *_cores(context, host, nodes, int(status["cpuinfo"]["cpus"])),
    ]
    yield from found
    if not found:
        memory = gib(sum(node.memory_mib for node in nodes) * MIB)
        cores = sum(node.cores for node in nodes)
        yield ok(
            host,
            f"has room for {count(len(nodes), 'VM')} of the stack: {memory} of "
            f"{gib(status['memory']['total'])} of memory, {cores} of {status['cpuinfo']['cpus']} "
            "cores",
        )
        yield from _promised_memory(context, host, nodes, status["memory"])


def _cpu(host: str, flags: frozenset[str]) -> Iterator[Finding]:
    """Check that the CPU can run the VMs. ``flags`` is empty if Proxmox does not report them."""
    if flags and not flags & {"vmx", "svm"}:
        yield failure(
            host,
            "has a CPU without hardware virtualization, or it is switched off, so no VM starts",
            "switch on VT-x or AMD-V (SVM) in the firmware setup of the host, or nested "
            "virtualization if the host is itself a VM",
        )
    missing = sorted(CPU_FLAGS - flags)
    if flags and missing:
        yield failure(
            host,
            f"has a CPU that lacks {', '.join(missing)}, so no VM of type {CPU_TYPE} starts there",
            "use another host; if the host is itself a VM, give it the CPU type `host`",
        )


def _version(host: str, text: str) -> Iterator[Finding]:
    numbers = re.search(r"pve-manager/(\d+)\.(\d+)", text)
    if numbers is None:
        raise CannotCheckError(f"Proxmox reports no version of {host}")
    if (int(numbers[1]), int(numbers[2])) < MIN_VERSION:
        yield failure(
            host,
            f"runs Proxmox VE {numbers[1]}.{numbers[2]}, which cannot import disk images",
            f"upgrade it to {MIN_VERSION[0]}.{MIN_VERSION[1]} or newer",
        )


def _memory(
    context: Context, host: str, nodes: list[Node], memory: dict[str, int]
) -> Iterator[Finding]:
    """Check the configured memory of all guests, and the free memory for new and larger VMs.

    One problem is a warning: guests may use less memory than configured, and the ZFS cache counts
    as used memory but shrinks. Both problems together are a failure. Running VMs of the stack need
    free memory only for their growth.
    """
    others = sum(int(guest.get("maxmem", 0)) for guest in context.proxmox.other_guests_on(host))
    planned = sum(node.memory_mib for node in nodes) * MIB
    running = {vm.vm_id: vm for vm in context.proxmox.stack_vms() if vm.running}
    growth = sum(
        max(0, node.memory_mib * MIB - (vm.memory if vm and vm.host == host else 0))
        for node in nodes
        for vm in [running.get(node.vm_id)]
    )
    total = int(memory["total"])
    free = int(memory.get("available", total - int(memory["used"])))
    configured = (
        f"has {gib(total)} of memory, and its guests are configured with {gib(planned + others)} "
        f"({gib(planned)} of it for this stack)"
    )
    needed = (
        f"has {gib(free)} of memory free, and new or larger VMs of the stack need {gib(growth)}"
    )
    fix = f"lower memory_mib of the nodes on {host}, or move a node: nodes.overrides.NAME.host"
    if planned + others > total and growth > free:
        yield failure(host, f"{needed}; it {configured}", fix)
    elif growth > free:
        yield warning(host, f"{needed}; caches may free enough memory", fix)
    elif planned + others > total:
        yield warning(host, configured, fix)


def _promised_memory(
    context: Context, host: str, nodes: list[Node], memory: dict[str, int]
) -> Iterator[Finding]:
    """Compare the memory of the host with that of all its guests, the stopped ones too."""
    others = sum(int(guest.get("maxmem", 0)) for guest in context.proxmox.other_guests_on(host))
    stopped = sum(int(it.get("maxmem", 0)) for it in context.proxmox.stopped_guests_on(host))
    promised = sum(node.memory_mib for node in nodes) * MIB + others + stopped
    total, used = int(memory["total"]), int(memory["used"])
    if promised > total:
        yield note(
            host,
            f"promises more memory than it has: {gib(promised)} to all guests "
            f"({gib(stopped)} of it to stopped ones), {gib(used)} of {gib(total)} in use",
            "do not start all guests together, or lower their memory",
        )


def _cores(context: Context, host: str, nodes: list[Node], cores: int) -> Iterator[Finding]:
    too_large = [node for node in nodes if node.cores > cores]
    for node in too_large:
        # qemu-server QemuServer.pm: "MAX n vcpus allowed per VM on this node"
        yield failure(
            host,
            f"has {count(cores, 'core')}, and starts no VM with more: {node.short_name} has "
            f"{node.cores}",
            f"lower the cores of {node.short_name}",
        )
    others = sum(int(guest.get("maxcpu", 0)) for guest in context.proxmox.other_guests_on(host))
    planned = sum(node.cores for node in nodes)
    if not too_large and planned + others > cores:
        yield warning(
            host,
            f"has {count(cores, 'core')}, and its guests have {planned + others} ({planned} of "
            "them in this stack): the guests are slower if all are busy",
            "lower the cores of nodes if this matters",
        )


def check_bridge(context: Context) -> Iterator[Finding]:
    """Check that each host has the bridge ``network.bridge``, and that the token may use it."""
    name = context.settings.network.bridge
    hosts = context.online_hosts()
    found = [finding for host in hosts for finding in _bridge(context, host, name)]
    yield from found
    if hosts and not found:
        yield ok(name, f"is a bridge of {', '.join(hosts)}")


def _bridge(context: Context, host: str, name: str) -> Iterator[Finding]:
    # Proxmox does not list bridges that the token may not use.
    entries = context.proxmox.read(f"/nodes/{host}/network?type=any_bridge")
    active = {entry["iface"]: bool(int(entry.get("active") or 0)) for entry in entries}
    if name not in active:
        known = ", ".join(sorted(active)) or "none"
        fix = f"create it on {host}, or choose another network.bridge; {host} has: {known}"
        yield failure(name, f"is not a bridge of {host} that the token may use", fix)
    elif not active[name]:
        yield warning(name, f"is not active on {host}", f"run in a shell of {host}: ifup {name}")
