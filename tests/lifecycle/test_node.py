"""One node's resource: what counts as a change, and what is done for it."""

from __future__ import annotations

from typing import Any

import pytest

from components.etcd_snapshot import EtcdSnapshotProvider
from components.kubernetes_version import KubernetesVersionProvider
from lifecycle.node import NodeLifecycleProvider
from upkeep.errors import UpkeepError

BORN: dict[str, Any] = {
    "talos": "v1.13.0",
    "kubernetes": "v1.36.3",
    "installer": "factory.talos.dev/nocloud-installer/abc:v1.13.0",
}
"""The cluster, for the resources that it has once."""
RUNS: dict[str, Any] = {
    "node": {
        "name": "castle-worker-1",
        "address": "192.168.1.155",
        "control_plane": False,
        "vm_id": 8010.0,
        "cores": 4.0,
        "memory_mib": 8192.0,
        "os_disk_gib": 34.0,
        "data_disk_gib": 43.0,
        "datastore": "local-lvm",
        "retains_data_disk": False,
    },
    "cluster": {
        "talos": "v1.13.0",
        "vip": "192.168.1.250",
        "control_planes": "castle-control-plane-1=192.168.1.253",
        "drain_s": 600.0,
    },
    "installer": "factory.talos.dev/nocloud-installer/abc:v1.13.0",
    "patches": ["machine: {env: {A: old}}\n"],
    "credentials": {"client_key": "old", "access": "a kubeconfig"},
    "generation": 1.0,
    "machine_state": "",
}
"""As the engine passes what it has in its state: every number is a float."""


def changed(path: str, value: Any, props: dict[str, Any] = RUNS) -> dict[str, Any]:
    """The inputs with one of them changed; ``group.key`` is one entry of a group."""
    group, _, key = path.partition(".")
    return props | {group: props[group] | {key: value} if key else value}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was done to a node: the arguments of each update."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("upkeep.talosctl.require", lambda talos: None)
    monkeypatch.setattr(
        "upkeep.node.update_node", lambda props, **more: calls.append({"props": props, **more})
    )
    return calls


NOTHING = {"grows": False, "old_patches": None, "restarts_api": False}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("cluster.control_planes", "more", None),
        ("node.retains_data_disk", True, None),
        ("machine_state", "gone", None),
        ("configuration", "another", None),
        ("patches", ["machine: {sysctls: {a: b, env: c}}\n", "machine: {env: {A: old}}\n"], None),
        ("credentials.client_key", "renewed", "written down"),
        ("cluster.drain_s", 60, "written down"),
        ("cluster.talos", "v1.13.9", NOTHING | {"old_patches": RUNS["patches"]}),
        ("cluster.vip", "192.168.1.9", {"old_patches": RUNS["patches"], "restarts_api": True}),
        ("installer", "another", NOTHING),
        ("node.cores", 8, NOTHING),
        ("node.memory_mib", 9216, NOTHING),
        ("node.os_disk_gib", 38, NOTHING | {"grows": True}),
        ("node.data_disk_gib", 50, NOTHING | {"grows": True}),
        ("patches", ["machine: {env: {A: new}}\n"], NOTHING | {"old_patches": RUNS["patches"]}),
    ],
)
def test_what_is_done_for_which_change(
    done: list[dict[str, Any]], path: str, value: Any, expected: Any
) -> None:
    node, news = NodeLifecycleProvider(), changed(path, value)
    assert node.diff("", RUNS, news).changes is (expected is not None)
    if expected is None:
        return
    outs = node.update("", RUNS, news).outs or {}
    assert {key: outs[key] for key in ("node", "cluster", "patches")} == {
        key: news[key] for key in ("node", "cluster", "patches")
    }
    assert "configuration" not in outs
    if expected == "written down":
        assert done == []
        return
    (call,) = done
    assert call.pop("props")["node"] == "castle-worker-1"
    assert call == NOTHING | expected


def test_all_changes_of_a_node_are_one_update(done: list[dict[str, Any]]) -> None:
    news = changed("cluster.talos", "v1.13.9", changed("node.memory_mib", 9216))
    news = changed("patches", ["machine: {env: {A: new}}\n"], news)
    NodeLifecycleProvider().update("", RUNS, news)
    assert len(done) == 1


def test_an_installer_that_is_not_known_yet_is_a_change(done: list[dict[str, Any]]) -> None:
    """In a preview of another schematic nobody knows its id."""
    assert NodeLifecycleProvider().diff("", RUNS, changed("installer", "unknown")).changes


def test_a_new_node_needs_nothing_and_keeps_no_configuration(done: list[dict[str, Any]]) -> None:
    made = NodeLifecycleProvider().create({**RUNS, "configuration": "all of it", "__provider": "x"})
    assert made.id == "castle-worker-1"
    assert made.outs is not None
    assert made.outs.keys() == RUNS.keys() - {"machine_state"}
    assert done == []


def test_a_node_is_removed_with_what_the_state_has(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[dict[str, Any]] = []
    monkeypatch.setattr("upkeep.node.leave", gone.append)
    NodeLifecycleProvider().delete("", {**RUNS, "__provider": "x"})
    assert gone[0]["node"] == "castle-worker-1"
    assert gone[0]["client_key"] == "old"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"talos": "v1.12.7"}, "is older than v1.13.0, which the cluster has"),
        ({"talos": "v1.15.1"}, r"Set it to the newest v1\.14\.x first"),
        ({"kubernetes": "v1.35.9"}, "Kubernetes v1.35.9 is older than v1.36.3"),
        ({"kubernetes": "v1.38.0"}, r"Set it to the newest v1\.37\.x first"),
    ],
)
def test_an_impossible_version_is_refused_before_anything(
    done: list[dict[str, Any]], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UpkeepError, match=words):
        EtcdSnapshotProvider().diff("", BORN, BORN | change)
    with pytest.raises(UpkeepError, match=f"{words}.*Nothing has been touched"):
        if "talos" in change:
            NodeLifecycleProvider().diff("", RUNS, changed("cluster.talos", change["talos"]))
        else:
            KubernetesVersionProvider().diff("", BORN, BORN | change)


def with_node(change: dict[str, Any]) -> dict[str, Any]:
    """The inputs with some of the node's own entries changed."""
    return RUNS | {"node": RUNS["node"] | change}


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
    done: list[dict[str, Any]], change: dict[str, Any], words: str
) -> None:
    node, news = NodeLifecycleProvider(), with_node({"vm_id": 8010} | change)
    with pytest.raises(UpkeepError) as refused:
        node.diff("", RUNS, news)
    assert words in str(refused.value)
    assert "et it back to" in str(refused.value)
    assert str(refused.value).endswith(
        "remove the node and add it again. Nothing has been touched."
    )
    # Another machine is created as it is declared.
    assert node.diff("", RUNS, with_node({"vm_id": 8020} | change)).changes
    assert node.diff("", RUNS, news | {"generation": 2, "machine_state": "created"}).changes
    with pytest.raises(UpkeepError):
        node.diff("", RUNS, news | {"generation": 2, "machine_state": "blank"})


@pytest.mark.parametrize(("key", "value"), [("cores", 8), ("memory_mib", 9216)])
def test_disks_and_the_rest_grow_one_after_the_other(
    done: list[dict[str, Any]], key: str, value: int
) -> None:
    node = NodeLifecycleProvider()
    for disk in ({"os_disk_gib": 38}, {"data_disk_gib": 50}):
        with pytest.raises(UpkeepError, match=f"no disk of castle-worker-1 can grow.*{key}: set"):
            node.diff("", RUNS, with_node({key: value} | disk))
    # A disk that is new is none that grows.
    without = with_node({"data_disk_gib": None})
    assert node.diff("", without, with_node({key: value, "data_disk_gib": 50})).changes


def test_all_that_a_node_cannot_become_is_said_at_once() -> None:
    change = {"data_disk_gib": None, "os_disk_gib": 20, "address": "192.168.1.9", "datastore": "x"}
    with pytest.raises(UpkeepError) as refused:
        NodeLifecycleProvider().diff("", RUNS, with_node(change))
    text = str(refused.value)
    keys = ("data_disk_gib: ", "os_disk_gib: ", "address: ", "proxmox.disk_datastore: ")
    assert all(key in text for key in keys)
    assert text.count("Nothing has been touched.") == 1


@pytest.mark.parametrize(
    "change", [{"data_disk_gib": 44}, {"os_disk_gib": 35}], ids=lambda it: next(iter(it))
)
def test_disks_grow(done: list[dict[str, Any]], change: dict[str, Any]) -> None:
    node, news = NodeLifecycleProvider(), with_node(change)
    assert node.diff("", RUNS, news).changes
    node.update("", RUNS, news)
    assert [call["grows"] for call in done] == [True]


def test_talos_is_not_put_under_a_kubernetes_that_it_does_not_run(
    done: list[dict[str, Any]],
) -> None:
    old = BORN | {"talos": "v1.12.7", "kubernetes": "v1.30.4"}
    news = {"talos": "v1.13.9", "kubernetes": "v1.31.2"}
    with pytest.raises(UpkeepError, match=r"Set cluster.kubernetes to v1\.31\.x first"):
        EtcdSnapshotProvider().diff("", old, old | news)


def test_versions_are_a_change_of_their_own_resources_alone(done: list[dict[str, Any]]) -> None:
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
