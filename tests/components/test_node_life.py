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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"talos": "v1.12.7"}, "is older than v1.13.0, which the cluster has"),
        ({"talos": "v1.15.1"}, r"Set it to the newest v1\.14\.x first"),
        ({"kubernetes": "v1.35.9"}, "Kubernetes v1.35.9 is older than v1.36.3"),
        ({"kubernetes": "v1.38.0"}, r"Set it to the newest v1\.37\.x first"),
    ],
)
def test_a_way_that_is_none_is_refused_before_anything(
    done: list[bool], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UpkeepError, match=words):
        EtcdSnapshotProvider().diff("", BORN, BORN | change)
    other = NodeLifeProvider() if "talos" in change else KubernetesVersionProvider()
    with pytest.raises(UpkeepError, match=f"{words}.*Nothing has been touched"):
        other.diff("", BORN, BORN | change)


LIVES = BORN | {
    "vm_id": 8010.0,
    "os_disk_gib": 34.0,
    "data_disk_gib": 43.0,
    "datastore": "local-lvm",
}
"""As the engine hands over what it has in its state: every number is a float."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"data_disk_gib": None},
            "the data disk of 43 GiB cannot be taken away from castle-worker-1",
        ),
        (
            {"data_disk_gib": 30},
            "the data disk of 43 GiB of castle-worker-1 cannot become one of 30 GiB",
        ),
        (
            {"os_disk_gib": 33},
            "the OS disk of 34 GiB of castle-worker-1 cannot become one of 33 GiB: disks only grow",
        ),
        (
            {"address": "192.168.1.165"},
            "castle-worker-1 lives at 192.168.1.155 and cannot move to 192.168.1.165",
        ),
        (
            {"datastore": "ceph"},
            "castle-worker-1 has its disks on local-lvm, and they cannot move to ceph",
        ),
    ],
    ids=lambda it: ",".join(it) if isinstance(it, dict) else "",
)
def test_what_a_node_that_lives_cannot_become(
    done: list[bool], change: dict[str, Any], words: str
) -> None:
    life, news = NodeLifeProvider(), LIVES | {"vm_id": 8010} | change
    with pytest.raises(UpkeepError) as refused:
        life.diff("", LIVES, news)
    assert words in str(refused.value)
    assert "et it back to" in str(refused.value)
    assert str(refused.value).endswith(
        "remove the node and add it again. Nothing has been touched."
    )
    # Another VM id is another machine, which is made as it is wanted.
    assert life.diff("", LIVES, news | {"vm_id": 8020}).changes


@pytest.mark.parametrize(("key", "value"), [("cores", 8), ("memory_mib", 9216)])
def test_disks_and_the_rest_grow_one_after_the_other(
    done: list[bool], key: str, value: int
) -> None:
    life = NodeLifeProvider()
    for disk in ({"os_disk_gib": 38}, {"data_disk_gib": 50}):
        with pytest.raises(UpkeepError, match=f"no disk of castle-worker-1 can grow.*{key}: set"):
            life.diff("", LIVES, LIVES | {key: value} | disk)
    # A disk that is new is none that grows.
    without = LIVES | {"data_disk_gib": None}
    assert life.diff("", without, without | {key: value, "data_disk_gib": 50}).changes


def test_all_that_a_node_cannot_become_is_said_at_once() -> None:
    change = {"data_disk_gib": None, "os_disk_gib": 20, "address": "192.168.1.9", "datastore": "x"}
    with pytest.raises(UpkeepError) as refused:
        NodeLifeProvider().diff("", LIVES, LIVES | change)
    text = str(refused.value)
    keys = ("data_disk_gib: ", "os_disk_gib: ", "address: ", "proxmox.disk_datastore: ")
    assert all(key in text for key in keys)
    assert text.count("Nothing has been touched.") == 1


@pytest.mark.parametrize(
    "change", [{"data_disk_gib": 44}, {"os_disk_gib": 35}], ids=lambda it: next(iter(it))
)
def test_disks_grow(done: list[bool], change: dict[str, Any]) -> None:
    life, news = NodeLifeProvider(), LIVES | change
    assert life.diff("", LIVES, news).changes
    life.update("", LIVES, news)
    assert done == [True]


def test_a_node_that_was_born_before_its_storage_was_written_down_is_left_alone() -> None:
    old = {key: value for key, value in LIVES.items() if key != "datastore"}
    assert not NodeLifeProvider().diff("", old, LIVES).changes
    assert not NodeLifeProvider().diff("", old, LIVES | {"datastore": "ceph"}).changes


def test_where_the_disks_are_is_written_down(done: list[bool]) -> None:
    life = NodeLifeProvider()
    assert (life.create(LIVES).outs or {})["datastore"] == "local-lvm"
    old = {key: value for key, value in LIVES.items() if key != "datastore"}
    outs = life.update("", old, LIVES | {"drain_s": 60}).outs
    assert outs is not None and outs["datastore"] == "local-lvm"


def test_talos_is_not_put_under_a_kubernetes_that_it_does_not_run(done: list[bool]) -> None:
    old = BORN | {"talos": "v1.12.7", "kubernetes": "v1.30.4"}
    news = {"talos": "v1.13.9", "kubernetes": "v1.31.2"}
    with pytest.raises(UpkeepError, match=r"Set cluster.kubernetes to v1\.31\.x first"):
        EtcdSnapshotProvider().diff("", old, old | news)


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
