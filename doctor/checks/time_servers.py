"""Checks of the time: time servers answer, and the clocks of the nodes are synchronized.

Talos starts kubelet, etcd and trustd only after a time server has answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from clients.errors import OperationError, describe_failure
from clients.talos import queries
from clients.talos.errors import TalosError
from clients.tls import context_of
from doctor.context import Context
from doctor.findings import CannotCheckError, Finding, note, ok, warning
from settings.wording import count

DEFAULT_SERVER = "time.cloudflare.com"
"""The time server of Talos without ``cluster.ntp`` (siderolabs/talos v1.13.9
pkg/machinery/constants DefaultNTPServer)."""
_THREADS = 32
_FIX = (
    "allow NTP (UDP port 123) from the nodes, or set cluster.ntp to a time server that they can "
    "reach, for example the router"
)


def check_time_servers(context: Context) -> Iterator[Finding]:
    """Check that a time server answers this machine, which stands for the nodes."""
    servers = [str(it) for it in context.settings.cluster.ntp] or [DEFAULT_SERVER]
    errors = []
    for server in servers:
        try:
            context.probes.ask_time(server)
        except OSError as error:
            errors.append(f"{server} ({describe_failure(error)})")
        else:
            yield ok(server, "answers over NTP")
            return
    yield warning(
        "time servers",
        f"do not answer this machine over NTP: {', '.join(errors)}. If they do not answer the "
        "nodes either, no cluster starts",
        _FIX,
    )


def check_node_clocks(context: Context) -> Iterator[Finding]:
    """Check that a time server has synchronized the clock of each node of the running cluster."""
    try:
        credentials = context.talos_credentials()
    except OperationError as error:
        raise CannotCheckError(str(error)) from None
    if credentials is None:
        yield note("node clocks", "are not checked: this stack has no cluster yet")
        return
    client = credentials

    def is_synchronized(address: str) -> bool | None:
        try:
            return queries.has_synchronized_clock(address, context_of(client))
        except TalosError:
            return None

    nodes = {node.name: str(node.address) for node in context.settings.machines}
    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(nodes, pool.map(is_synchronized, nodes.values()), strict=True))
    for name in [name for name, it in found.items() if it is False]:
        text = (
            "is not synchronized: no time server answers the node, so Talos does not start its "
            "kubelet, nor etcd on a control plane"
        )
        yield warning(f"clock of {name}", text, _FIX)
    if silent := [name for name, it in found.items() if it is None]:
        yield note(
            "node clocks", f"are unknown, because Talos does not answer: {', '.join(silent)}"
        )
    if good := [name for name, it in found.items() if it]:
        yield ok("node clocks", f"are synchronized on {count(len(good), 'node')}")
