"""A config's rollout: which change takes a node down, and what is done for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.config_rollout import ConfigRolloutProvider
from upkeep.config_change import needs_reboot, restarted

ROLE: dict[str, Any] = {
    "machine": {
        "type": "worker",
        "kubelet": {"image": "ghcr.io/siderolabs/kubelet:v1.36.3"},
        "features": {"diskQuotaSupport": True, "kubePrism": {"enabled": True}},
    },
    "cluster": {"apiServer": {"image": "registry.k8s.io/kube-apiserver:v1.36.3"}},
}
HOSTNAME = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "hostname": "castle-worker-1"}


def props(
    *patches: dict[str, Any], role: dict[str, Any] = ROLE, control_plane: bool = False
) -> dict[str, Any]:
    """A node's rollout, with these patches beside the castle's own."""
    return {
        "node": "castle-worker-1",
        "address": "192.168.1.155",
        "talos": "v1.13.9",
        "control_plane": control_plane,
        "configuration": yaml.safe_dump_all([role, HOSTNAME]),
        "patches": [yaml.safe_dump(HOSTNAME), *map(yaml.safe_dump, patches)],
    }


@pytest.mark.parametrize(
    ("patch", "reboots"),
    [
        ({"machine": {"files": [{"path": "/var/etc/a"}]}}, True),
        ({"machine": {"env": {"A": "b"}}}, True),
        ({"machine": {"udev": {"rules": []}}}, True),
        ({"machine": {"features": {"rbac": True}}}, True),
        ({"machine": {"features": {"hostDNS": {"enabled": False}}}}, False),
        ({"machine": {"sysctls": {"a": "b"}}}, False),
        ({"machine": {"kubelet": {"extraArgs": {"a": "b"}}}}, False),
        ({"machine": {"nodeLabels": {"a": "b"}, "registries": {}, "time": {}}}, False),
        ({"cluster": {"network": {"dnsDomain": "a"}}, "debug": True}, False),
        ({"apiVersion": "v1alpha1", "kind": "TimeSyncConfig", "ntp": {}}, False),
        ({"apiVersion": "v1alpha1", "kind": "TrustedRootsConfig", "machine": {"a": 1}}, False),
    ],
    ids=lambda it: str(it)[:60],
)
def test_which_patches_need_a_reboot(patch: dict[str, Any], reboots: bool) -> None:
    assert needs_reboot(props(), props(patch)) is reboots
    assert needs_reboot(props(patch), props()) is reboots
    assert not needs_reboot(props(patch), props(patch))


def test_a_secret_file_that_changes_inside_needs_one_too() -> None:
    old, new = ({"machine": {"files": [{"content": text}]}} for text in "ab")
    assert needs_reboot(props(old), props(new))


def test_a_new_kubernetes_or_installer_takes_no_node_down_here() -> None:
    newer = yaml.safe_load(yaml.safe_dump(ROLE).replace("v1.36.3", "v1.36.4"))
    newer["machine"]["install"] = {"image": "another"}
    for control_plane in (True, False):
        old = props(control_plane=control_plane)
        new = props(role=newer, control_plane=control_plane)
        assert not ConfigRolloutProvider().diff("", old, new).changes


def test_a_role_of_another_kind_of_machine_needs_a_reboot() -> None:
    other = ROLE | {"machine": ROLE["machine"] | {"type": "controlplane"}}
    assert needs_reboot(props(), props(role=other))


@pytest.mark.parametrize("control_plane", [True, False])
def test_programs_of_a_control_plane_begin_anew_one_node_at_a_time(control_plane: bool) -> None:
    patch = {"cluster": {"apiServer": {"extraArgs": {"a": "b"}}, "scheduler": {"config": {}}}}
    news = props(patch, control_plane=control_plane)
    found = restarted(props(control_plane=control_plane), news)
    assert found == (["kube-apiserver", "kube-scheduler"] if control_plane else [])


def test_what_is_not_known_yet_counts_as_unchanged() -> None:
    """In a preview of a new schematic nobody knows the role's config yet."""
    unknown = props() | {"configuration": None}
    assert not ConfigRolloutProvider().diff("", props(), unknown).changes


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of talosctl, and what was rolled out."""
    said: list[str] = []
    monkeypatch.setattr("upkeep.talosctl.require", lambda talos: said.append(f"require {talos}"))
    monkeypatch.setattr(
        "upkeep.rollout.roll_out", lambda olds, news: said.append(f"roll out {news['node']}")
    )
    return said


def test_talosctl_is_asked_for_by_a_preview_that_needs_it(done: list[str]) -> None:
    rollout, reboots = ConfigRolloutProvider(), {"machine": {"env": {"A": "b"}}}
    at_once = {"machine": {"sysctls": {"a": "b"}}}
    assert not rollout.diff("", props(), props(at_once) | {"client_key": "renewed"}).changes
    assert done == []
    assert rollout.diff("", props(), props(reboots)).changes
    assert done == ["require v1.13.9"]


def test_a_turn_is_taken_on_update_and_never_at_birth(done: list[str]) -> None:
    rollout, news = ConfigRolloutProvider(), props()
    assert rollout.create({**news, "__provider": "x"}).outs == news
    assert done == []
    assert rollout.update("", props(), {**news, "__provider": "x"}).outs == news
    assert done == ["roll out castle-worker-1"]
