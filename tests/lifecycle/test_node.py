"""``NodeLifecycle``: which inputs are an update, and what the update does."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import OperationError
from lifecycle.cluster_versions import EtcdSnapshotProvider, KubernetesVersionProvider
from lifecycle.node import NodeLifecycleProvider
from lifecycle.operations.context import NodeContext

CLUSTER: dict[str, Any] = {
    "talos": "v1.13.0",
    "kubernetes": "v1.36.3",
    "installer": "factory.talos.dev/nocloud-installer/abc:v1.13.0",
    "has_come_up": True,
}
"""Inputs of the resources of the whole cluster."""
NODE: dict[str, Any] = {
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
"""Inputs as Pulumi passes them: every number is a float."""


def changed(path: str, value: Any, props: dict[str, Any] = NODE) -> dict[str, Any]:
    """The inputs with one change; ``group.key`` is one key of a group."""
    group, _, key = path.partition(".")
    return props | {group: props[group] | {key: value} if key else value}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each call of ``update_node``."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("clients.talos.talosctl.require", lambda talos: None)
    monkeypatch.setattr(
        "lifecycle.operations.node.update_node",
        lambda context, **more: calls.append({"context": context, **more}),
    )
    return calls


DEFAULTS = {"grows": False, "old_patches": None, "restarts_api": False}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("cluster.control_planes", "more", None),
        ("node.retains_data_disk", True, None),
        ("machine_state", "gone", None),
        ("configuration", "another", None),
        ("patches", ["machine: {sysctls: {a: b, env: c}}\n", "machine: {env: {A: old}}\n"], None),
        ("credentials.client_key", "renewed", "only stored"),
        ("cluster.drain_s", 60, "only stored"),
        ("cluster.talos", "v1.13.9", DEFAULTS | {"old_patches": NODE["patches"]}),
        ("cluster.vip", "192.168.1.9", {"old_patches": NODE["patches"], "restarts_api": True}),
        ("installer", "another", DEFAULTS),
        ("node.cores", 8, DEFAULTS),
        ("node.memory_mib", 9216, DEFAULTS),
        ("node.os_disk_gib", 38, DEFAULTS | {"grows": True}),
        ("node.data_disk_gib", 50, DEFAULTS | {"grows": True}),
        ("patches", ["machine: {env: {A: new}}\n"], DEFAULTS | {"old_patches": NODE["patches"]}),
    ],
)
def test_changed_inputs_and_the_operation_that_they_cause(
    done: list[dict[str, Any]], path: str, value: Any, expected: Any
) -> None:
    node, news = NodeLifecycleProvider(), changed(path, value)
    assert node.diff("", NODE, news).changes is (expected is not None)
    if expected is None:
        return
    outs = node.update("", NODE, news).outs or {}
    assert {key: outs[key] for key in ("node", "cluster", "patches")} == {
        key: news[key] for key in ("node", "cluster", "patches")
    }
    assert "configuration" not in outs
    if expected == "only stored":
        assert done == []
        return
    (call,) = done
    assert call.pop("context").node.name == "castle-worker-1"
    assert call == DEFAULTS | expected


def test_an_operation_gets_the_new_inputs(done: list[dict[str, Any]]) -> None:
    news = changed("installer", "another") | {"configuration": "machine: {}\n"}
    NodeLifecycleProvider().update("", NODE, news)
    context: NodeContext = done[0]["context"]
    assert context.installer == "another"
    assert context.configuration == "machine: {}\n"
    assert list(context.patches) == NODE["patches"]
    assert context.credentials.access == "a kubeconfig"
    assert context.cluster.vip == "192.168.1.250"
    assert (context.node.vm_id, context.node.cores) == (8010, 4)


def test_several_changes_of_a_node_are_one_operation(done: list[dict[str, Any]]) -> None:
    news = changed("cluster.talos", "v1.13.9", changed("node.memory_mib", 9216))
    news = changed("patches", ["machine: {env: {A: new}}\n"], news)
    NodeLifecycleProvider().update("", NODE, news)
    assert len(done) == 1


def test_a_vm_that_was_reset_is_upgraded_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch, done: list[dict[str, Any]]
) -> None:
    """It still runs its old Talos version and hardware."""
    monkeypatch.setattr(
        "lifecycle.operations.node_replacement.remove_stale_node", lambda context, with_disks: None
    )
    news = changed("cluster.talos", "v1.13.9", with_node({"memory_mib": 9216, "cores": 8}))
    news |= {"generation": 2, "machine_state": "blank"}
    outs = NodeLifecycleProvider().update("", NODE, news).outs or {}
    assert done == [] and outs["generation"] == 2
    old, node = outs["cluster"]["talos"], outs["node"]
    assert (old, node["memory_mib"], node["cores"]) == ("v1.13.0", 8192, 4)
    next_run = news | {"machine_state": ""}
    assert NodeLifecycleProvider().diff("", outs, next_run).changes
    NodeLifecycleProvider().update("", outs, next_run)
    assert len(done) == 1


def test_an_installer_that_is_unknown_in_a_preview_is_an_update(done: list[dict[str, Any]]) -> None:
    """A preview does not know the id of a new schematic."""
    assert NodeLifecycleProvider().diff("", NODE, changed("installer", "unknown")).changes


def test_a_new_node_needs_no_operation_and_stores_no_machine_config(
    done: list[dict[str, Any]],
) -> None:
    made = NodeLifecycleProvider().create({**NODE, "configuration": "all of it", "__provider": "x"})
    assert made.id == "castle-worker-1"
    assert made.outs is not None
    assert made.outs.keys() == NODE.keys() - {"has_come_up", "machine_state"}
    assert done == []


def test_a_node_is_removed_with_the_credentials_in_the_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removed: list[NodeContext] = []
    monkeypatch.setattr("lifecycle.operations.node.remove_node", removed.append)
    NodeLifecycleProvider().delete("", {**NODE, "__provider": "x"})
    assert removed[0].node.name == "castle-worker-1"
    assert removed[0].credentials.client_key == "old"


def with_node(change: dict[str, Any]) -> dict[str, Any]:
    """The inputs with changes in the group ``node``."""
    return NODE | {"node": NODE["node"] | change}


@pytest.mark.parametrize(
    "change", [{"data_disk_gib": 44}, {"os_disk_gib": 35}], ids=lambda it: next(iter(it))
)
def test_a_larger_disk_is_an_update_with_a_reboot(
    done: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    node, news = NodeLifecycleProvider(), with_node(change)
    assert node.diff("", NODE, news).changes
    node.update("", NODE, news)
    assert [call["grows"] for call in done] == [True]


def test_a_node_that_was_never_ready_needs_no_operation(
    done: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its VM is created with the new values, without talosctl and without a request."""

    def missing(talos: str) -> None:
        raise AssertionError("talosctl was required")

    monkeypatch.setattr("clients.talos.talosctl.require", missing)
    node = changed("cluster.talos", "v1.11.0", with_node({"cores": 2, "os_disk_gib": 20}))
    node["has_come_up"] = False
    assert NodeLifecycleProvider().diff("", NODE, node).changes
    outs = NodeLifecycleProvider().update("", NODE, node).outs or {}
    assert (outs["cluster"]["talos"], outs["node"]["cores"]) == ("v1.11.0", 2)
    cluster = CLUSTER | {"talos": "v1.11.0", "kubernetes": "v1.30.0", "has_come_up": False}
    for provider in (EtcdSnapshotProvider(), KubernetesVersionProvider()):
        assert provider.diff("", CLUSTER, cluster).changes
        outs = provider.update("", CLUSTER, cluster).outs or {}
        assert outs["kubernetes"] == "v1.30.0"
    assert done == []


def test_the_first_readiness_of_a_node_is_no_update() -> None:
    assert not NodeLifecycleProvider().diff("", NODE | {"has_come_up": False}, NODE).changes
    for provider in (EtcdSnapshotProvider(), KubernetesVersionProvider()):
        assert not provider.diff("", CLUSTER | {"has_come_up": False}, CLUSTER).changes


def test_a_new_version_updates_only_the_resources_that_use_it(done: list[dict[str, Any]]) -> None:
    newer = CLUSTER | {"kubernetes": "v1.36.9"}
    assert EtcdSnapshotProvider().diff("", CLUSTER, newer).changes
    assert KubernetesVersionProvider().diff("", CLUSTER, newer).changes
    assert not KubernetesVersionProvider().diff("", CLUSTER, CLUSTER | {"talos": "v1.13.9"}).changes


def test_a_preview_requires_talosctl_even_if_the_snapshot_is_up_to_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a run stopped after the snapshot, only the resource of the upgrade requires talosctl."""

    def missing(talos: str) -> None:
        raise OperationError(f"This change needs talosctl {talos}")

    monkeypatch.setattr("clients.talos.talosctl.require", missing)
    with pytest.raises(OperationError, match="needs talosctl v1.13.0"):
        KubernetesVersionProvider().diff("", CLUSTER, CLUSTER | {"kubernetes": "v1.36.9"})
    assert not KubernetesVersionProvider().diff("", CLUSTER, CLUSTER).changes
