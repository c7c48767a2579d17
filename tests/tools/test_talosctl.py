"""`talosctl validate` judges the machine configs that our patches make."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.talos.args import ClusterFindings, TalosClusterArgs
from components.talos.machine_config import node_patches, role_patch
from settings.node import Role
from tests.recorder import settings_with

TALOSCTL = shutil.which("talosctl")

pytestmark = pytest.mark.skipif(TALOSCTL is None, reason="talosctl is not on PATH")

LAYOUTS: dict[str, dict[str, Any]] = {
    "reference": {},
    "three control planes": {
        "nodes": {"control_planes": {"count": 3, "first_address": "192.168.1.231"}},
    },
    "host network": {"traefik": {"exposure": "host-network"}},
    "no workers": {
        "nodes": {"workers": {"count": 0}, "control_planes": {"data_disk_gib": 43}},
        "longhorn": {"replicas": 1},
    },
    "patched": {
        "cluster": {
            "ntp": ["192.168.1.1", "time.cloudflare.com"],
            "registry_mirrors": {
                "docker.io": ["https://mirror.tazlab.net:5000", "http://192.168.1.9/v2"],
                "*": ["https://mirror.tazlab.net"],
            },
        },
        "nodes": {
            "control_planes": {
                "patches": [{"cluster": {"apiServer": {"extraArgs": {"event-ttl": "2h0m0s"}}}}]
            },
            "workers": {
                "patches": [
                    {"machine": {"sysctls": {"vm.max_map_count": "262144"}}},
                    {
                        "apiVersion": "v1alpha1",
                        "kind": "RegistryAuthConfig",
                        "name": "ghcr.io",
                        "username": "me",
                        "password": "secret",
                    },
                ]
            },
            "overrides": {
                "worker-2": {"patches": [{"machine": {"nodeTaints": {"gpu": "yes:NoSchedule"}}}]}
            },
        },
    },
}


def talosctl(*arguments: str, folder: Path) -> str:
    command = [str(TALOSCTL), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_every_machine_config_is_valid_in_the_cloud_mode(layout: str, tmp_path: Path) -> None:
    settings = settings_with(**LAYOUTS[layout])
    installer = f"factory.talos.dev/nocloud-installer/{'0' * 64}:{settings.cluster.talos}"
    args = TalosClusterArgs.of(settings, installer, {}, ClusterFindings())
    talosctl(
        *("gen", "config", settings.cluster.name, f"https://{settings.cluster.vip}:6443"),
        *("--talos-version", settings.cluster.talos, "--with-docs=false", "--with-examples=false"),
        *("--kubernetes-version", settings.cluster.kubernetes.removeprefix("v")),
        folder=tmp_path,
    )
    for node in settings.machines:
        base = "controlplane.yaml" if node.role is Role.CONTROL_PLANE else "worker.yaml"
        patches = [yaml.safe_dump(role_patch(installer, args.nodes)), *node_patches(node, args)]
        flags = [flag for patch in patches for flag in ("--patch", str(patch))]
        config = talosctl("machineconfig", "patch", base, *flags, folder=tmp_path)
        (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
        said = talosctl(
            *("validate", "--strict", "--mode", "cloud", "--config", "config.yaml"), folder=tmp_path
        )
        assert "is valid for cloud mode" in said
