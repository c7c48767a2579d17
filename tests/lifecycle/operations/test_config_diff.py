"""Prediction of reboots and component restarts from old and new machine config."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lifecycle.operations.config_diff import needs_reboot, restarted, takes_down

ROLE: dict[str, Any] = {
    "machine": {
        "type": "worker",
        "kubelet": {"image": "ghcr.io/siderolabs/kubelet:v1.36.3"},
        "features": {"diskQuotaSupport": True, "kubePrism": {"enabled": True}},
    },
    "cluster": {"apiServer": {"image": "registry.k8s.io/kube-apiserver:v1.36.3"}},
}
HOSTNAME = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "hostname": "castle-worker-1"}


def texts(*patches: dict[str, Any], role: dict[str, Any] = ROLE) -> list[str]:
    """The config of a node: role, host name and these patches."""
    return [
        yaml.safe_dump_all([role, HOSTNAME]),
        yaml.safe_dump(HOSTNAME),
        *map(yaml.safe_dump, patches),
    ]


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
def test_patches_that_need_a_reboot(patch: dict[str, Any], reboots: bool) -> None:
    assert needs_reboot(texts(), texts(patch)) is reboots
    assert needs_reboot(texts(patch), texts()) is reboots
    assert not needs_reboot(texts(patch), texts(patch))


def test_a_changed_content_of_a_file_needs_a_reboot() -> None:
    old, new = ({"machine": {"files": [{"content": text}]}} for text in "ab")
    assert needs_reboot(texts(old), texts(new))


def test_a_new_kubernetes_image_or_installer_needs_no_reboot() -> None:
    newer = yaml.safe_load(yaml.safe_dump(ROLE).replace("v1.36.3", "v1.36.4"))
    newer["machine"]["install"] = {"image": "another"}
    for control_plane in (True, False):
        assert not takes_down(texts(), texts(role=newer), control_plane=control_plane)


def test_a_change_from_worker_to_control_plane_needs_a_reboot() -> None:
    other = ROLE | {"machine": ROLE["machine"] | {"type": "controlplane"}}
    assert needs_reboot(texts(), texts(role=other))


@pytest.mark.parametrize("control_plane", [True, False])
def test_changed_components_restart_on_control_planes_only(control_plane: bool) -> None:
    patch = {"cluster": {"apiServer": {"extraArgs": {"a": "b"}}, "scheduler": {"config": {}}}}
    found = restarted(texts(), texts(patch), control_plane=control_plane)
    assert found == (["kube-apiserver", "kube-scheduler"] if control_plane else [])
    assert takes_down(texts(), texts(patch), control_plane=control_plane) is control_plane
