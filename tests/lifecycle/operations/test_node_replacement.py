"""Removal of the old node after its VM was recreated or reset."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from clients.errors import OperationError
from clients.kubernetes.api import RetryingApi
from clients.talos import machine_api, talosctl
from clients.talos.errors import TalosError
from lifecycle.operations import node_replacement, snapshots
from lifecycle.operations.context import NodeContext
from lifecycle.operations.power import Power
from tests.lifecycle.operations.fake_cluster import (
    LONGHORN,
    FakeCluster,
    FakeMachineApi,
    node,
    node_context,
    volume,
)


def context(**changes: Any) -> NodeContext:
    """The second of three control planes, or another node."""
    values = {
        "name": "cp-2",
        "address": "10.0.0.2",
        "control_plane": True,
        "control_planes": "cp-1=10.0.0.1,cp-2=10.0.0.2,cp-3=10.0.0.3",
        "drain_s": 1,
    }
    return node_context(**values | changes)


WITH_ETCD = b"\n\x11\x12\x0f\n\x04etcd\x12\x07Running"
WITHOUT_ETCD = b"\n\x13\x12\x11\n\x04etcd\x12\x09Preparing"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A cluster of three control planes; cp-2 was replaced and does not answer."""
    api = FakeCluster(node("cp-1") | node("cp-2") | volume("certs", 2, "cp-1", "cp-2"))
    api.objects[f"{LONGHORN}/nodes/cp-2"] = {}
    found = SimpleNamespace(
        api=api,
        talos=FakeMachineApi("cp-1", "cp-2", "cp-3", unhealthy=("cp-2",)),
        services=WITH_ETCD,
    )
    monkeypatch.setattr(RetryingApi, "of", lambda access: api)
    monkeypatch.setattr(node_replacement, "context_of", lambda props: None)
    monkeypatch.setattr(machine_api, "call", lambda address, *_: found.services)
    monkeypatch.setattr(talosctl, "require", lambda talos: None)
    monkeypatch.setattr(machine_api, "MachineApi", lambda props: found.talos)
    monkeypatch.setattr(snapshots, "is_fresh", lambda cluster: True)
    return found


def test_etcd_member_and_kubernetes_node_are_removed(cluster: SimpleNamespace) -> None:
    node_replacement.remove_stale_node(context(), with_disks=False)
    assert ("10.0.0.1", "EtcdRemoveMemberByID", b"\x08\x02") in cluster.talos.calls
    assert "/api/v1/nodes/cp-2" not in cluster.api.objects
    assert "/api/v1/nodes/cp-1" in cluster.api.objects
    # The data disk still exists, so its replicas are usable.
    assert f"{LONGHORN}/replicas/certs-cp-2" in cluster.api.objects


def test_replicas_of_a_lost_data_disk_are_removed_and_no_others(cluster: SimpleNamespace) -> None:
    node_replacement.remove_stale_node(context(), with_disks=True)
    assert f"{LONGHORN}/replicas/certs-cp-2" not in cluster.api.objects
    assert f"{LONGHORN}/nodes/cp-2" not in cluster.api.objects
    assert f"{LONGHORN}/replicas/certs-cp-1" in cluster.api.objects


def test_a_worker_has_no_etcd_member_to_remove(cluster: SimpleNamespace) -> None:
    node_replacement.remove_stale_node(
        context(name="worker-1", control_plane=False), with_disks=False
    )
    assert cluster.talos.calls == []
    assert "/api/v1/nodes/cp-2" in cluster.api.objects


def test_a_removal_that_costs_etcd_its_majority_is_refused(cluster: SimpleNamespace) -> None:
    cluster.talos = FakeMachineApi("cp-1", "cp-2", "cp-3", unhealthy=("cp-2", "cp-3"))
    with pytest.raises(OperationError, match="would lose its majority without cp-2"):
        node_replacement.remove_stale_node(context(), with_disks=True)
    assert "/api/v1/nodes/cp-2" in cluster.api.objects


@pytest.mark.parametrize(
    ("services", "control_planes"),
    [(WITHOUT_ETCD, "cp-1=10.0.0.1,cp-2=10.0.0.2"), (WITH_ETCD, "cp-2=10.0.0.2")],
)
def test_nothing_is_removed_if_no_other_control_plane_runs_etcd(
    cluster: SimpleNamespace, services: bytes, control_planes: str
) -> None:
    """For example after a first `up` that was interrupted before the bootstrap."""
    cluster.services = services
    node_replacement.require_tools(context(control_planes=control_planes))
    node_replacement.remove_stale_node(context(control_planes=control_planes), with_disks=True)
    assert cluster.talos.calls == []
    assert "/api/v1/nodes/cp-2" in cluster.api.objects


@pytest.fixture
def silent(cluster: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The other control planes do not answer; the test sets what Proxmox and Talos report."""
    cluster.running, cluster.in_maintenance = frozenset({"cp-1"}), None

    def call(*_: object) -> bytes:
        raise TalosError("ServiceList", "10.0.0.1", "Connection refused")

    monkeypatch.setattr(machine_api, "call", call)
    monkeypatch.setattr(machine_api, "is_unconfigured", lambda address: cluster.in_maintenance)
    monkeypatch.setattr(
        Power,
        "find_running",
        lambda self, names, stack_tag: [name for name in names if name in cluster.running],
    )
    return cluster


@pytest.mark.parametrize("in_maintenance", [None, False])
def test_a_running_control_plane_that_does_not_answer_is_an_error(
    silent: SimpleNamespace, in_maintenance: bool | None
) -> None:
    """It may be booting, and no later run would remove the old node."""
    silent.in_maintenance = in_maintenance
    with pytest.raises(OperationError) as raised:
        node_replacement.remove_stale_node(context(name="worker-1"), with_disks=True)
    assert str(raised.value) == (
        "The control plane cp-1 runs (or its Proxmox host does not answer), but its Talos API does "
        "not answer. So it is unknown whether the cluster still has the old node worker-1. Check "
        "this control plane and its host, then run `up` again."
    )
    node_replacement.require_tools(context())  # a preview does not wait


def test_a_control_plane_that_boots_is_awaited(
    silent: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None])

    def call(address: str, *_: object) -> bytes:
        for _nothing in answers:
            raise TalosError("ServiceList", "10.0.0.1", "Connection refused")
        return WITH_ETCD

    monkeypatch.setattr(machine_api, "call", call)
    monkeypatch.setattr("clients.wait.INTERVAL", 0)
    node_replacement.remove_stale_node(
        context(control_planes="cp-1=10.0.0.1,cp-2=10.0.0.2", return_s=60), with_disks=False
    )
    assert "/api/v1/nodes/cp-2" not in silent.api.objects


@pytest.mark.parametrize(("config", "running"), [(True, {"cp-1", "cp-3"}), (None, set())])
def test_there_is_no_wait_after_an_interrupted_first_up(
    silent: SimpleNamespace, config: bool | None, running: set[str]
) -> None:
    """The other control planes have no config yet, are off, or do not exist."""
    silent.in_maintenance, silent.running = config, frozenset(running)
    node_replacement.remove_stale_node(context(), with_disks=True)
    assert silent.talos.calls == []


def test_talosctl_is_required_if_an_etcd_member_must_be_removed(
    cluster: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(talos: str) -> None:
        raise OperationError("talosctl is not on PATH")

    monkeypatch.setattr(talosctl, "require", missing)
    with pytest.raises(OperationError, match="not on PATH"):
        node_replacement.require_tools(context())
    node_replacement.require_tools(context(control_plane=False))
