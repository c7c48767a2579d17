"""A node's life: what counts as a change, and what is done for it."""

from __future__ import annotations

from typing import Any

import pytest

from components.etcd_snapshot import EtcdSnapshotProvider
from components.kubernetes_version import KubernetesVersionProvider
from components.node_life import NodeLifeProvider
from upkeep.errors import UpkeepError

BORN: dict[str, Any] = {
    "node": "castle-worker-1",
    "address": "192.168.1.155",
    "talos": "v1.13.0",
    "kubernetes": "v1.36.3",
    "installer": "factory.talos.dev/nocloud-installer/abc:v1.13.0",
    "cores": 4,
    "memory_mib": 8192,
    "os_disk_gib": 34,
    "control_planes": "castle-control-plane-1=192.168.1.253",
    "client_key": "old",
    "drain_s": 600,
    "has_come_up": True,
}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What was done to a node: for each time, whether a disk grew."""
    times: list[bool] = []
    monkeypatch.setattr("upkeep.talosctl.require", lambda talos: None)
    monkeypatch.setattr("upkeep.node.tend", lambda props, grows: times.append(grows))
    return times


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"control_planes": "more"}, None),
        ({"client_key": "renewed"}, []),
        ({"drain_s": 60}, []),
        ({"talos": "v1.13.9"}, [False]),
        ({"installer": "another"}, [False]),
        ({"cores": 8}, [False]),
        ({"memory_mib": 9216}, [False]),
        ({"os_disk_gib": 38}, [True]),
        ({"data_disk_gib": 50}, [True]),
    ],
    ids=lambda it: ",".join(it) if isinstance(it, dict) else "",
)
def test_what_is_done_for_which_change(
    done: list[bool], change: dict[str, Any], expected: list[bool] | None
) -> None:
    life, news = NodeLifeProvider(), BORN | change
    assert life.diff("", BORN, news).changes is (expected is not None)
    if expected is not None:
        outs = life.update("", BORN, news).outs
        assert outs == news
        assert done == expected


def test_a_birth_does_nothing(done: list[bool]) -> None:
    assert NodeLifeProvider().create({**BORN, "__provider": "x"}).outs == BORN
    assert done == []


LIVES = BORN | {
    "vm_id": 8010.0,
    "os_disk_gib": 34.0,
    "data_disk_gib": 43.0,
    "datastore": "local-lvm",
}
"""As the engine hands over what it has in its state: every number is a float."""


@pytest.mark.parametrize(
    "change", [{"data_disk_gib": 44}, {"os_disk_gib": 35}], ids=lambda it: next(iter(it))
)
def test_disks_grow(done: list[bool], change: dict[str, Any]) -> None:
    life, news = NodeLifeProvider(), LIVES | change
    assert life.diff("", LIVES, news).changes
    life.update("", LIVES, news)
    assert done == [True]


def test_where_the_disks_are_is_written_down(done: list[bool]) -> None:
    life = NodeLifeProvider()
    assert (life.create(LIVES).outs or {})["datastore"] == "local-lvm"
    old = {key: value for key, value in LIVES.items() if key != "datastore"}
    outs = life.update("", old, LIVES | {"drain_s": 60}).outs
    assert outs is not None and outs["datastore"] == "local-lvm"


def test_nothing_is_upgraded_that_has_never_come_up(
    done: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its VM is created with the new values: no tool is needed, and no cluster is asked."""

    def missing(talos: str) -> None:
        raise AssertionError("talosctl was asked for")

    monkeypatch.setattr("upkeep.talosctl.require", missing)
    new = {"talos": "v1.11.0", "kubernetes": "v1.30.0", "cores": 2, "os_disk_gib": 20}
    news = LIVES | new | {"has_come_up": False}
    for provider in (NodeLifeProvider(), EtcdSnapshotProvider(), KubernetesVersionProvider()):
        assert provider.diff("", LIVES, news).changes
        outs = provider.update("", LIVES, news).outs
        assert outs is not None and outs["talos"] == "v1.11.0"
    assert done == []


def test_a_node_that_comes_up_has_not_changed() -> None:
    before = LIVES | {"has_come_up": False}
    for provider in (NodeLifeProvider(), EtcdSnapshotProvider(), KubernetesVersionProvider()):
        assert not provider.diff("", before, LIVES).changes


def test_versions_are_a_change_of_their_own_resources_alone(done: list[bool]) -> None:
    newer = BORN | {"kubernetes": "v1.36.9"}
    assert EtcdSnapshotProvider().diff("", BORN, newer).changes
    assert KubernetesVersionProvider().diff("", BORN, newer).changes
    assert not KubernetesVersionProvider().diff("", BORN, BORN | {"talos": "v1.13.9"}).changes


def test_an_upgrade_that_was_stopped_after_its_snapshot_asks_for_talosctl_in_a_preview(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The snapshot, which asks for it else, is up to date then."""

    def missing(talos: str) -> None:
        raise UpkeepError(f"This change needs talosctl {talos}")

    monkeypatch.setattr("upkeep.talosctl.require", missing)
    with pytest.raises(UpkeepError, match="needs talosctl v1.13.0"):
        KubernetesVersionProvider().diff("", BORN, BORN | {"kubernetes": "v1.36.9"})
    assert not KubernetesVersionProvider().diff("", BORN, BORN).changes
