"""Removes the old node from a cluster after its VM was recreated or lost its machine config.

The etcd member must be removed, because Talos does not let a node join with the address of an
existing member (siderolabs/talos v1.13.9 internal/app/machined/pkg/system/services/etcd.go
addMember). The Kubernetes node must be removed, because it would still be reported ready for a
while. If the data disk is gone too, its Longhorn replicas are deleted.
"""

from __future__ import annotations

import time

from clients.errors import OperationError
from clients.kubernetes.api import RetryingApi, delete_with_retries
from clients.talos import machine_api, queries, talosctl
from clients.talos.errors import TalosError
from clients.tls import context_of
from clients.wait import NotYet, wait_until
from lifecycle.operations import snapshots, volumes
from lifecycle.operations.context import NodeContext
from lifecycle.operations.etcd import Etcd
from lifecycle.operations.lock import cluster_lock
from lifecycle.operations.power import Power

BOOT_TIMEOUT_S = 120
"""Seconds from power-on until a VM must answer on the Talos API."""
_PAUSE_S = 2


def is_in_maintenance(address: str, limit: float) -> bool:
    """Whether the VM at an address is in maintenance mode, so has no machine config.

    Asks again for at most ``limit`` seconds while the VM does not answer.
    """
    until = time.monotonic() + limit
    while (answer := machine_api.is_unconfigured(address)) is None and time.monotonic() < until:
        time.sleep(_PAUSE_S)
    return answer is True


def require_tools(context: NodeContext) -> None:
    """Raise ``OperationError`` if an etcd member must be removed and talosctl is missing."""
    if context.node.control_plane and _query_other_control_planes(context)[0]:
        talosctl.require(context.cluster.talos)


def remove_stale_node(context: NodeContext, *, with_disks: bool) -> None:
    """Remove what a cluster still has of a node whose VM was replaced. Completed steps are skipped.

    ``with_disks``: the data disk is gone too. If no other control plane runs etcd (a first ``up``
    that was interrupted, a single control plane), there is nothing to remove. Raises
    ``OperationError`` if another control plane runs but does not answer, or if etcd would lose its
    majority without the old member.
    """
    peers = _find_etcd_peers(context)
    if not peers:
        return
    cluster, name = context.cluster, context.node.name
    with cluster_lock(cluster.cluster, cluster.return_s):
        if context.node.control_plane:
            talosctl.require(cluster.talos)
            _remove_etcd_member(peers, context)
        api = RetryingApi.of(context.credentials.access)
        failure = f"Kubernetes did not delete the old node {name}"
        delete_with_retries(api, f"/api/v1/nodes/{name}", cluster.return_s, failure)
        if with_disks:
            volumes.delete_replicas(api, name)
            volumes.remove_longhorn_node(api, name, cluster.drain_s)


def _find_etcd_peers(context: NodeContext) -> list[str]:
    """Wait until it is certain which other control planes run etcd; returns their addresses.

    A control plane without config, power, VM or running etcd knows no members. A control plane that
    runs but does not answer may be booting, so this waits for it: after this ``up`` the program
    would not remove the old node any more.
    """

    def query() -> list[str]:
        peers, silent = _query_other_control_planes(context)
        if silent and not peers:
            running = Power.of(context).find_running(silent, context.cluster.cluster)
            if running:
                raise NotYet(", ".join(running))
        return peers

    def timeout_error(silent: str) -> OperationError:
        return OperationError(
            f"The control plane {silent} runs (or its Proxmox host does not answer), but its Talos "
            "API does not answer. So it is unknown whether the cluster still has the old node "
            f"{context.node.name}. Check this control plane and its host, then run `up` again."
        )

    return wait_until(query, context.cluster.return_s, timeout_error)


def _query_other_control_planes(context: NodeContext) -> tuple[list[str], list[str]]:
    """Ask all other control planes once. Returns the addresses of those with a running etcd, and
    the names of those that do not answer."""
    tls = context_of(context.credentials)
    peers, silent = [], []
    for peer in context.cluster.peers:
        if peer.name == context.node.name:
            continue
        try:
            etcd = queries.services(peer.address, tls).get("etcd")
            if etcd is not None and etcd.state == "Running":
                peers.append(peer.address)
        except TalosError:
            if not machine_api.is_unconfigured(peer.address):
                silent.append(peer.name)
    return peers, silent


def _remove_etcd_member(peers: list[str], context: NodeContext) -> None:
    etcd = Etcd(machine_api.MachineApi(context.credentials), peers)
    member = etcd.require_quorum_without(context.node.peer, is_removed=True)
    if member:
        if not snapshots.is_fresh(context.cluster.cluster):
            snapshots.take_and_store(context.cluster, context.credentials, peers)
        etcd.remove_member(member, is_ready=False)
