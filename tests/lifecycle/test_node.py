"""One node's resource: what counts as a change, and what is done for it."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import OperationError
from lifecycle.etcd_snapshot import EtcdSnapshotProvider
from lifecycle.kubernetes_version import KubernetesVersionProvider
from lifecycle.node import NodeLifecycleProvider

BORN: dict[str, Any] = {
    "talos": "v1.13.0",
    "kubernetes": "v1.36.3",
    "installer": "factory.talos.dev/nocloud-installer/abc:v1.13.0",
    "has_come_up": True,
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
    "has_come_up": True,
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
    monkeypatch.setattr("clients.talos.talosctl.require", lambda talos: None)
    monkeypatch.setattr(
        "lifecycle.operations.node.update_node",
        lambda props, **more: calls.append({"props": props, **more}),
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


def test_a_machine_that_was_reset_is_power_cycled_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch, done: list[dict[str, Any]]
) -> None:
    """It keeps the Talos on its disk and the hardware that it was started with."""
    monkeypatch.setattr(
        "lifecycle.operations.node_replacement.remove_stale_node", lambda props, with_disks: None
    )
    news = changed("cluster.talos", "v1.13.9", with_node({"memory_mib": 9216, "cores": 8}))
    news |= {"generation": 2, "machine_state": "blank"}
    outs = NodeLifecycleProvider().update("", RUNS, news).outs or {}
    assert done == [] and outs["generation"] == 2
    old, node = outs["cluster"]["talos"], outs["node"]
    assert (old, node["memory_mib"], node["cores"]) == ("v1.13.0", 8192, 4)
    next_run = news | {"machine_state": ""}
    assert NodeLifecycleProvider().diff("", outs, next_run).changes
    NodeLifecycleProvider().update("", outs, next_run)
    assert len(done) == 1


def test_an_installer_that_is_not_known_yet_is_a_change(done: list[dict[str, Any]]) -> None:
    """In a preview of another schematic nobody knows its id."""
    assert NodeLifecycleProvider().diff("", RUNS, changed("installer", "unknown")).changes


def test_a_new_node_needs_nothing_and_keeps_no_configuration(done: list[dict[str, Any]]) -> None:
    made = NodeLifecycleProvider().create({**RUNS, "configuration": "all of it", "__provider": "x"})
    assert made.id == "castle-worker-1"
    assert made.outs is not None
    assert made.outs.keys() == RUNS.keys() - {"has_come_up", "machine_state"}
    assert done == []


def test_a_node_is_removed_with_what_the_state_has(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[dict[str, Any]] = []
    monkeypatch.setattr("lifecycle.operations.node.remove_node", gone.append)
    NodeLifecycleProvider().delete("", {**RUNS, "__provider": "x"})
    assert gone[0]["node"] == "castle-worker-1"
    assert gone[0]["client_key"] == "old"


def with_node(change: dict[str, Any]) -> dict[str, Any]:
    """The inputs with some of the node's own entries changed."""
    return RUNS | {"node": RUNS["node"] | change}


@pytest.mark.parametrize(
    "change", [{"data_disk_gib": 44}, {"os_disk_gib": 35}], ids=lambda it: next(iter(it))
)
def test_disks_grow(done: list[dict[str, Any]], change: dict[str, Any]) -> None:
    node, news = NodeLifecycleProvider(), with_node(change)
    assert node.diff("", RUNS, news).changes
    node.update("", RUNS, news)
    assert [call["grows"] for call in done] == [True]


def test_nothing_is_upgraded_that_has_never_come_up(
    done: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its VM is created with the new values: no tool is needed, and no cluster is asked."""

    def missing(talos: str) -> None:
        raise AssertionError("talosctl was asked for")

    monkeypatch.setattr("clients.talos.talosctl.require", missing)
    node = changed("cluster.talos", "v1.11.0", with_node({"cores": 2, "os_disk_gib": 20}))
    node["has_come_up"] = False
    assert NodeLifecycleProvider().diff("", RUNS, node).changes
    outs = NodeLifecycleProvider().update("", RUNS, node).outs or {}
    assert (outs["cluster"]["talos"], outs["node"]["cores"]) == ("v1.11.0", 2)
    cluster = BORN | {"talos": "v1.11.0", "kubernetes": "v1.30.0", "has_come_up": False}
    for provider in (EtcdSnapshotProvider(), KubernetesVersionProvider()):
        assert provider.diff("", BORN, cluster).changes
        outs = provider.update("", BORN, cluster).outs or {}
        assert outs["kubernetes"] == "v1.30.0"
    assert done == []


def test_a_node_that_comes_up_has_not_changed() -> None:
    assert not NodeLifecycleProvider().diff("", RUNS | {"has_come_up": False}, RUNS).changes
    for provider in (EtcdSnapshotProvider(), KubernetesVersionProvider()):
        assert not provider.diff("", BORN | {"has_come_up": False}, BORN).changes


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
        raise OperationError(f"This change needs talosctl {talos}")

    monkeypatch.setattr("clients.talos.talosctl.require", missing)
    with pytest.raises(OperationError, match="needs talosctl v1.13.0"):
        KubernetesVersionProvider().diff("", BORN, BORN | {"kubernetes": "v1.36.9"})
    assert not KubernetesVersionProvider().diff("", BORN, BORN).changes
