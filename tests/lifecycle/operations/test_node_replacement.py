"""What a cluster forgets of a machine that is born again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from clients.errors import OperationError
from clients.kubernetes.patient_api import PatientApi
from clients.talos import machine_api, maintenance, talosctl
from lifecycle.operations import node_replacement, snapshots
from lifecycle.operations.power import Power
from tests.lifecycle.operations.fake_cluster import LONGHORN, FakeCluster, Members, node, volume

PROPS: dict[str, Any] = {
    "cluster": "a-test",
    "talos": "v1.13.9",
    "node": "cp-2",
    "address": "10.0.0.2",
    "control_plane": True,
    "control_planes": "cp-1=10.0.0.1,cp-2=10.0.0.2,cp-3=10.0.0.3",
    "access": "a kubeconfig",
    "return_s": 0,
    "proxmox_endpoint": "https://192.168.1.10:8006",
    "proxmox_insecure": False,
    "proxmox_token": "castle@pve!pulumi=11111111-2222-3333-4444-555555555555",
    "host": "pve",
    "vm_id": 8001,
    "drain_s": 1,
}


WITH_ETCD = b"\n\x0b\n\x04etcd\x12\x07Running"
WITHOUT = b"\n\x0d\n\x04etcd\x12\x09Preparing"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A cluster of three control planes, of which all but the former machine answer."""
    api = FakeCluster(node("cp-1") | node("cp-2") | volume("certs", 2, "cp-1", "cp-2"))
    api.objects[f"{LONGHORN}/nodes/cp-2"] = {}
    found = SimpleNamespace(
        api=api, talos=Members("cp-1", "cp-2", "cp-3", sick=("cp-2",)), services=WITH_ETCD
    )
    monkeypatch.setattr(PatientApi, "of", lambda access: api)
    monkeypatch.setattr(node_replacement, "context_of", lambda props: None)
    monkeypatch.setattr(machine_api, "call", lambda address, *_: found.services)
    monkeypatch.setattr(talosctl, "require", lambda talos: None)
    monkeypatch.setattr(talosctl, "Talosctl", lambda props: found.talos)
    monkeypatch.setattr(snapshots, "is_fresh", lambda cluster: True)
    return found


def test_its_member_and_its_node_go(told: SimpleNamespace) -> None:
    node_replacement.forget_former(PROPS, with_disks=False)
    assert ("10.0.0.1", "etcd", "remove-member", "0000000000000002") in told.talos.asked
    assert "/api/v1/nodes/cp-2" not in told.api.objects
    assert "/api/v1/nodes/cp-1" in told.api.objects
    # Its data disk is still there: what is on it is of use.
    assert f"{LONGHORN}/replicas/certs-cp-2" in told.api.objects


def test_with_its_data_disk_its_replicas_go_and_no_others(told: SimpleNamespace) -> None:
    node_replacement.forget_former(PROPS, with_disks=True)
    assert f"{LONGHORN}/replicas/certs-cp-2" not in told.api.objects
    assert f"{LONGHORN}/nodes/cp-2" not in told.api.objects
    assert f"{LONGHORN}/replicas/certs-cp-1" in told.api.objects


def test_a_worker_has_no_member(told: SimpleNamespace) -> None:
    node_replacement.forget_former(
        PROPS | {"node": "worker-1", "control_plane": False}, with_disks=False
    )
    assert told.talos.asked == []
    assert "/api/v1/nodes/cp-2" in told.api.objects


def test_etcd_keeps_its_majority(told: SimpleNamespace) -> None:
    told.talos = Members("cp-1", "cp-2", "cp-3", sick=("cp-2", "cp-3"))
    with pytest.raises(OperationError, match="would lose its majority without cp-2"):
        node_replacement.forget_former(PROPS, with_disks=True)
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
    node_replacement.require_tools(props)
    node_replacement.forget_former(props, with_disks=True)
    assert told.talos.asked == []
    assert "/api/v1/nodes/cp-2" in told.api.objects


@pytest.fixture
def silent(told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Control planes that do not answer as a configured one does; what they are is told."""
    told.running, told.waits_for_config = frozenset({"cp-1"}), None

    def call(*_: object) -> bytes:
        raise machine_api.TalosCallError("Connection refused")

    monkeypatch.setattr(machine_api, "call", call)
    monkeypatch.setattr(maintenance, "look", lambda address: told.waits_for_config)
    monkeypatch.setattr(Power, "running", lambda self, stack_tag: told.running)
    return told


@pytest.mark.parametrize("with_certificate", [None, False])
def test_a_control_plane_that_is_silent_proves_nothing(
    silent: SimpleNamespace, with_certificate: bool | None
) -> None:
    """It may be booting: a birth that was taken for done would never be looked at again."""
    silent.waits_for_config = with_certificate
    with pytest.raises(OperationError) as raised:
        node_replacement.forget_former(PROPS | {"node": "worker-1"}, with_disks=True)
    assert str(raised.value) == (
        "cp-1 does not answer: whether the former worker-1 must be forgotten is not known. See to "
        "it, then run `up` again."
    )
    node_replacement.require_tools(PROPS)  # a preview waits for nobody


def test_a_control_plane_that_boots_is_waited_for(
    silent: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None])

    def call(address: str, *_: object) -> bytes:
        for _nothing in answers:
            raise machine_api.TalosCallError("Connection refused")
        return WITH_ETCD

    monkeypatch.setattr(machine_api, "call", call)
    monkeypatch.setattr("clients.wait.INTERVAL", 0)
    node_replacement.forget_former(
        PROPS | {"control_planes": "cp-1=10.0.0.1,cp-2=10.0.0.2", "return_s": 60}, with_disks=False
    )
    assert "/api/v1/nodes/cp-2" not in silent.api.objects


@pytest.mark.parametrize(("config", "running"), [(True, {"cp-1", "cp-3"}), (None, set())])
def test_after_a_first_up_that_was_cut_off_nobody_is_waited_for(
    silent: SimpleNamespace, config: bool | None, running: set[str]
) -> None:
    """They wait for their first config, or are off, or not made yet."""
    silent.waits_for_config, silent.running = config, frozenset(running)
    node_replacement.forget_former(PROPS, with_disks=True)
    assert silent.talos.asked == []


def test_talosctl_is_asked_for_where_etcd_has_to_forget(
    told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(talos: str) -> None:
        raise talosctl.TalosctlError("talosctl is not on PATH")

    monkeypatch.setattr(talosctl, "require", missing)
    with pytest.raises(OperationError, match="not on PATH"):
        node_replacement.require_tools(PROPS)
    node_replacement.require_tools(PROPS | {"control_plane": False})
