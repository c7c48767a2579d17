"""Removes the old node from a cluster after its VM was recreated or lost its machine config.

The etcd member must be removed, because Talos does not let a node join with the address of an
existing member (siderolabs/talos v1.13.9 internal/app/machined/pkg/system/services/etcd.go
addMember). The Kubernetes node must be removed, because it would still be reported ready for a
while. If the data disk is gone too, its Longhorn replicas are deleted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clients.errors import OperationError
from clients.kubernetes.patient_api import PatientApi, delete_with_retries
from clients.talos import machine_api, maintenance, talosctl
from clients.tls import context_of
from clients.wait import NotYet, wait_until
from lifecycle.operations import snapshots, volumes
from lifecycle.operations.etcd import Etcd
from lifecycle.operations.lock import cluster_lock
from lifecycle.operations.power import Power

BOOT_LIMIT = 120
"""Seconds from power-on until a VM must answer on the Talos API."""
_PAUSE_S = 2
_SERVICES = "/machine.MachineService/ServiceList"
_ETCD_RUNNING = b"\n\x04etcd\x12\x07Running"
"""Start of the ``ServiceInfo`` of a running etcd: id (field 1), state (field 2)
(siderolabs/talos api/machine/machine.proto)."""


def wait_for_answer(address: str, limit: float) -> bool:
    """Whether the VM at an address is in maintenance mode, so has no machine config.

    Asks again for at most ``limit`` seconds while the VM does not answer.
    """
    until = time.monotonic() + limit
    while (answer := maintenance.look(address)) is None and time.monotonic() < until:
        time.sleep(_PAUSE_S)
    return answer is True


def require_tools(props: Mapping[str, Any]) -> None:
    """Raise ``TalosctlError`` if an etcd member must be removed and talosctl is missing."""
    if props["control_plane"] and _query_other_control_planes(props)[0]:
        talosctl.require(props["talos"])


def remove_stale_node(props: Mapping[str, Any], *, with_disks: bool) -> None:
    """Remove what a cluster still has of a node whose VM was replaced. Completed steps are skipped.

    ``props`` are as for ``node.update_node``. ``with_disks``: the data disk is gone too. If no
    other control plane runs etcd (a first ``up`` that was interrupted, a single control plane),
    there is nothing to remove. Raises ``OperationError`` if another control plane runs but does not
    answer, or if etcd would lose its majority without the old member.
    """
    peers = _find_etcd_peers(props)
    if not peers:
        return
    with cluster_lock(props["cluster"], props["return_s"]):
        name = str(props["node"])
        if props["control_plane"]:
            talosctl.require(props["talos"])
            _remove_etcd_member(peers, props)
        api = PatientApi.of(props["access"])
        failure = f"Kubernetes did not delete the old node {name}"
        delete_with_retries(api, f"/api/v1/nodes/{name}", props["return_s"], failure)
        if with_disks:
            volumes.delete_replicas(api, name)
            volumes.remove_longhorn_node(api, name, props["drain_s"])


def _find_etcd_peers(props: Mapping[str, Any]) -> list[str]:
    """Wait until it is certain which other control planes run etcd; returns their addresses.

    A control plane without config, power, VM or running etcd knows no members. A control plane that
    runs but does not answer may be booting, so this waits for it: after this ``up`` the program
    would not remove the old node any more.
    """

    def query() -> list[str]:
        peers, silent = _query_other_control_planes(props)
        running = Power.of(props).running_vms(props["cluster"]) if silent and not peers else ()
        if unanswered := [name for name in silent if name in running]:
            raise NotYet(", ".join(unanswered))
        return peers

    def timeout_error(silent: str) -> OperationError:
        return OperationError(
            f"The control plane {silent} runs, but its Talos API does not answer. So it is unknown "
            f"whether the cluster still has the old node {props['node']}. Check this control "
            "plane, then run `up` again."
        )

    return wait_until(query, props["return_s"], timeout_error)


def _query_other_control_planes(props: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ask all other control planes once. Returns the addresses of those with a running etcd, and
    the names of those that do not answer."""
    context = context_of(props)
    peers, silent = [], []
    for entry in props["control_planes"].split(","):
        name, _, address = entry.partition("=")
        if name == props["node"]:
            continue
        try:
            if _ETCD_RUNNING in machine_api.call(address, context, _SERVICES):
                peers.append(address)
        except machine_api.TalosCallError:
            if not maintenance.look(address):
                silent.append(name)
    return peers, silent


def _remove_etcd_member(peers: list[str], props: Mapping[str, Any]) -> None:
    etcd = Etcd(talosctl.Talosctl(props), peers)
    member = etcd.require_quorum_without(props["node"], props["address"], is_removed=True)
    if member:
        if not snapshots.is_fresh(props["cluster"]):
            snapshots.take_and_store(props, peers)
        etcd.remove_member(member, is_ready=False)
