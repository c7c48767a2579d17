"""Makes room in a cluster for a machine that was made anew, or lost its config.

Its former self cannot leave any more, so it is taken out: of etcd, as Talos does not let a machine
join whose address is a member's already (siderolabs/talos v1.13.9
internal/app/machined/pkg/system/services/etcd.go addMember), and of Kubernetes, where it would
still look alive for a while. Where its data disk is gone too, Longhorn forgets what was on it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clients.errors import OperationError
from clients.kubernetes.patient_api import PatientApi, delete_in_time
from clients.talos import machine_api, maintenance, talosctl
from clients.tls import context_of
from clients.wait import NotYet, wait_until
from lifecycle.operations import snapshots, volumes
from lifecycle.operations.etcd import Etcd
from lifecycle.operations.lock import one_at_a_time
from lifecycle.operations.power import Power

BOOT_LIMIT = 120
"""Seconds that a machine has from power to an answer."""
_PAUSE = 2
_SERVICES = "/machine.MachineService/ServiceList"
_ETCD_RUNS = b"\n\x04etcd\x12\x07Running"
"""How a ``ServiceInfo`` begins (siderolabs/talos api/machine/machine.proto: id 1, state 2)."""


def wait_for_answer(address: str, limit: float) -> bool:
    """Whether the machine at an address is without a config; silent, it is asked for a while."""
    until = time.monotonic() + limit
    while (found := maintenance.look(address)) is None and time.monotonic() < until:
        time.sleep(_PAUSE)
    return found is True


def require_tools(props: Mapping[str, Any]) -> None:
    """Raise ``TalosctlError`` where a control plane is to be forgotten and talosctl is not here."""
    if props["control_plane"] and _others(props)[0]:
        talosctl.require(props["talos"])


def forget_former(props: Mapping[str, Any], *, with_disks: bool) -> None:
    """Take a node's former machine out of its cluster. What is done already is left out.

    ``with_disks`` says that its data disk is gone too. Where no other control plane runs etcd (a
    first `up` that was cut off, a lone control plane) there is nothing that could forget. Raises
    ``OperationError``, also where a control plane runs and does not answer: what it knows is not
    known. Etcd must have its majority without the former machine.
    """
    others = _who_remembers(props)
    if not others:
        return
    with one_at_a_time(props["cluster"], props["return_s"]):
        name = str(props["node"])
        if props["control_plane"]:
            talosctl.require(props["talos"])
            _leave_etcd(others, props)
        api = PatientApi.of(props["access"])
        what = f"Kubernetes did not forget the former {name}"
        delete_in_time(api, f"/api/v1/nodes/{name}", props["return_s"], what)
        if with_disks:
            volumes.forget_replicas(api, name)
            volumes.forget(api, name, props["drain_s"])


def _who_remembers(props: Mapping[str, Any]) -> list[str]:
    """The addresses of the other control planes whose etcd runs, once that is certain.

    One that has no config, no power or no machine, or whose etcd does not run, remembers nobody.
    One that runs and is silent may be booting, and is waited for: a birth that is taken for done
    is never looked at again.
    """

    def look() -> list[str]:
        found, silent = _others(props)
        running = Power.of(props).running(props["cluster"]) if silent and not found else ()
        if held := [name for name in silent if name in running]:
            raise NotYet(", ".join(held))
        return found

    def told(silent: str) -> OperationError:
        return OperationError(
            f"{silent} does not answer: whether the former {props['node']} must be forgotten is "
            "not known. See to it, then run `up` again."
        )

    return wait_until(look, props["return_s"], told)


def _others(props: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Of the other control planes: addresses of those whose etcd runs, names of the silent ones."""
    context = context_of(props)
    found, silent = [], []
    for entry in props["control_planes"].split(","):
        name, _, address = entry.partition("=")
        if name == props["node"]:
            continue
        try:
            if _ETCD_RUNS in machine_api.call(address, context, _SERVICES):
                found.append(address)
        except machine_api.TalosCallError:
            if not maintenance.look(address):
                silent.append(name)
    return found, silent


def _leave_etcd(others: list[str], props: Mapping[str, Any]) -> None:
    etcd = Etcd(talosctl.Talosctl(props), others)
    member = etcd.require_quorum_without(props["node"], props["address"], leaves=True)
    if member:
        if not snapshots.is_fresh(props["cluster"]):
            snapshots.renew(props, others)
        etcd.leave(member, is_alive=False)
