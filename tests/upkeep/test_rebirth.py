"""What a cluster forgets of a machine that is born again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from components import talos_call
from tests.upkeep.house import LONGHORN, House, Members, node, volume
from upkeep import rebirth, snapshots, talosctl
from upkeep.api import PatientApi
from upkeep.errors import UpkeepError

PROPS: dict[str, Any] = {
    "cluster": "a-test",
    "talos": "v1.13.9",
    "node": "cp-2",
    "control_plane": True,
    "address": "10.0.0.2",
    "control_planes": "cp-1=10.0.0.1,cp-2=10.0.0.2,cp-3=10.0.0.3",
    "access": "a kubeconfig",
    "return_s": 1,
    "drain_s": 1,
}


WITH_ETCD = b"\n\x0b\n\x04etcd\x12\x07Running"
WITHOUT = b"\n\x0d\n\x04etcd\x12\x09Preparing"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A cluster of three control planes, of which all but the former machine answer."""
    api = House(node("cp-1") | node("cp-2") | volume("certs", 2, "cp-1", "cp-2"))
    api.objects[f"{LONGHORN}/nodes/cp-2"] = {}
    found = SimpleNamespace(
        api=api, talos=Members("cp-1", "cp-2", "cp-3", sick=("cp-2",)), services=WITH_ETCD
    )
    monkeypatch.setattr(PatientApi, "of", lambda access: api)
    monkeypatch.setattr(rebirth, "context_of", lambda props: None)
    monkeypatch.setattr(talos_call, "call", lambda address, *_: found.services)
    monkeypatch.setattr(talosctl, "require", lambda talos: None)
    monkeypatch.setattr(talosctl, "Talosctl", lambda props: found.talos)
    monkeypatch.setattr(snapshots, "is_fresh", lambda cluster: True)
    return found


def test_its_member_and_its_node_go(told: SimpleNamespace) -> None:
    rebirth.forget_former(PROPS, with_disks=False)
    assert ("10.0.0.1", "etcd", "remove-member", "0000000000000002") in told.talos.asked
    assert "/api/v1/nodes/cp-2" not in told.api.objects
    assert "/api/v1/nodes/cp-1" in told.api.objects
    # Its data disk is still there: what is on it is of use.
    assert f"{LONGHORN}/replicas/certs-cp-2" in told.api.objects


def test_with_its_data_disk_its_replicas_go_and_no_others(told: SimpleNamespace) -> None:
    rebirth.forget_former(PROPS, with_disks=True)
    assert f"{LONGHORN}/replicas/certs-cp-2" not in told.api.objects
    assert f"{LONGHORN}/nodes/cp-2" not in told.api.objects
    assert f"{LONGHORN}/replicas/certs-cp-1" in told.api.objects


def test_a_worker_has_no_member(told: SimpleNamespace) -> None:
    rebirth.forget_former(PROPS | {"node": "worker-1", "control_plane": False}, with_disks=False)
    assert told.talos.asked == []
    assert "/api/v1/nodes/cp-2" in told.api.objects


def test_etcd_keeps_its_majority(told: SimpleNamespace) -> None:
    told.talos = Members("cp-1", "cp-2", "cp-3", sick=("cp-2", "cp-3"))
    with pytest.raises(UpkeepError, match="would lose its majority without cp-2"):
        rebirth.forget_former(PROPS, with_disks=True)
    assert "/api/v1/nodes/cp-2" in told.api.objects


@pytest.mark.parametrize(
    ("services", "control_planes"),
    [(WITHOUT, PROPS["control_planes"]), (WITH_ETCD, "cp-2=10.0.0.2")],
)
def test_where_no_cluster_is_left_nobody_is_asked(
    told: SimpleNamespace, services: bytes, control_planes: str
) -> None:
    """As after a first `up` that was cut off before the bootstrap: it must go on."""
    told.services = services
    props = PROPS | {"control_planes": control_planes}
    rebirth.require_tools(props)
    rebirth.forget_former(props, with_disks=True)
    assert told.talos.asked == []
    assert "/api/v1/nodes/cp-2" in told.api.objects


def test_talosctl_is_asked_for_where_etcd_has_to_forget(
    told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(talos: str) -> None:
        raise talosctl.TalosctlError("talosctl is not on PATH")

    monkeypatch.setattr(talosctl, "require", missing)
    with pytest.raises(UpkeepError, match="not on PATH"):
        rebirth.require_tools(PROPS)
    rebirth.require_tools(PROPS | {"control_plane": False})
