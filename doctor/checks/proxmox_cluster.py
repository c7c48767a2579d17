"""Checks of the Proxmox cluster as a whole: its quorum, and the clocks of its hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator

from doctor.context import Context
from doctor.findings import Finding, failure, ok, warning
from settings.wording import count

CLOCK_LIMIT_S = 60
"""A clock that differs by more seconds is reported. A new VM needs about as long until Talos checks
certificates, so a smaller difference does no harm."""


def check_quorum(context: Context) -> Iterator[Finding]:
    """Check that the Proxmox cluster has a quorum. Without it, Proxmox refuses every change.

    A single host that is in no cluster needs no quorum.
    """
    entries = context.proxmox.read("/cluster/status")
    cluster = next((entry for entry in entries if entry.get("type") == "cluster"), None)
    if cluster is None:
        yield ok("quorum", "is not needed, because this host is in no Proxmox cluster")
        return
    subject = f"cluster {cluster.get('name')}"
    hosts = [entry for entry in entries if entry.get("type") == "node"]
    offline = sorted(str(entry["name"]) for entry in hosts if not int(entry.get("online") or 0))
    online = len(hosts) - len(offline)
    if int(cluster.get("quorate") or 0):
        yield ok(subject, f"has a quorum: {online} of {count(len(hosts), 'host')} online")
        return
    missing = f"; offline: {', '.join(offline)}" if offline else ""
    yield failure(
        subject,
        f"has no quorum, so Proxmox refuses every change: {online} of "
        f"{count(len(hosts), 'host')} online{missing}",
        "start the offline hosts, and check the network between the hosts (in a shell of a host: "
        "pvecm status). Only if the offline hosts are switched off and stay off, run on an online "
        f"host: pvecm expected {max(online, 1)}",
    )


def check_clocks(context: Context) -> Iterator[Finding]:
    """Compare the clock of each host with this machine's clock.

    The certificates of a new cluster begin at this machine's time, and a VM starts with the time
    of its host. If this machine is ahead, the nodes reject the certificates as not yet valid.
    """
    hosts = context.online_hosts()
    offsets = {host: _read_offset(context, host) for host in hosts}
    far = {host: offset for host, offset in offsets.items() if abs(offset) > CLOCK_LIMIT_S}
    fix = (
        "compare `date -u` on both with another clock. On the machine whose clock is wrong, switch "
        "on time synchronization (Linux and Proxmox: timedatectl set-ntp true)"
    )
    for host, offset in far.items():
        if offset > 0:
            text = (
                f"is {offset:.0f} s ahead of this machine's clock; one of the two is wrong, and "
                "servers may reject requests or certificates of a wrong time"
            )
            yield warning(f"clock of {host}", text, fix)
            continue
        text = (
            f"is {-offset:.0f} s behind this machine's clock; nodes with the time of the host "
            "reject the certificates of a new cluster, which begin at this machine's time"
        )
        yield (warning if context.has_vms() else failure)(f"clock of {host}", text, fix)
    if hosts and not far:
        yield ok("clocks", f"of this machine and of {', '.join(hosts)} agree")


def _read_offset(context: Context, host: str) -> float:
    """The seconds that the clock of a host is at least ahead of this machine's clock.

    The value is negative if the host is behind. It is 0 if the duration of the request and the
    whole seconds of Proxmox' answer can explain the difference.
    """
    context.proxmox.version()  # Not part of the measured time.
    begin = time.time()
    seconds = int(context.proxmox.read(f"/nodes/{host}/time")["time"])
    end = time.time()
    if seconds > end:
        return seconds - end
    return min(0.0, seconds + 1 - begin)
