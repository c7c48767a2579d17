"""Rehearsals of stack files and of variants of them, each run once per test session."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import trustme
import yaml

from rehearsal.run import Rehearsal, rehearse
from settings.groups import PROJECT
from settings.project import PROJECT_FOLDER
from tests.settings.test_fixtures import VALID, document

STACKS = sorted(
    path.name.removeprefix("Pulumi.").removesuffix(".yaml")
    for path in PROJECT_FOLDER.glob("Pulumi.*.yaml")
)
"""Names of the stack files of the repository."""

FIXTURES = {path.stem: path for path in VALID}
"""The valid stack files of ``tests/settings``, by name."""

FLUX: dict[str, Any] = {
    "flux": {
        "url": "ssh://git@git.tazlab.net/me/manifests.git",
        "deploy_key": {"secure": "v1:abc"},
        "known_hosts": "git.tazlab.net ssh-ed25519 AAAAC3Nz",
    },
    "sops": {"age_key": {"secure": "v1:abc"}},
}
"""Changes that add Flux with a deploy key and an age key."""

HOST_NETWORK = {"traefik.exposure": "host-network"}

THREE_HOSTS = {
    "proxmox.hosts": ["pve1", "pve2", "pve3"],
    "nodes.control_planes": {"count": 3, "first_address": "192.168.1.230"},
    "nodes.workers.count": 4,
    "nodes.overrides": {
        "worker-1": {"cores": 8, "memory_mib": 16384, "os_disk_gib": 50},
        "worker-2": {"address": "192.168.1.180", "vm_id": 8099},
        "worker-3": {"host": "pve4", "data_disk_gib": 100},
        "worker-4": {"data_disk_gib": None},
    },
}
"""Changes that spread seven nodes over four hosts."""

BUCKET = {
    "s3": {
        "endpoint": "https://192.168.1.5:9000",
        "access_key": "castle",
        "secret_key": {"secure": "v1:closed"},
        "certificate": trustme.CA().cert_pem.bytes().decode(),
    },
    "longhorn.backup": {"target": "s3://castle@home/volumes"},
    "traefik.acme.backup": {"target": "s3://castle@home/certificates"},
    "sops.age_key": {"secure": "v1:closed"},
}
"""Changes that store all backups in a bucket."""

VARIANTS: dict[str, dict[str, Any]] = {
    "host network": HOST_NETWORK,
    "host network, no workers": {
        "traefik.exposure": "host-network",
        "nodes.workers": {"count": 0},
        "nodes.control_planes.data_disk_gib": 50,
        "longhorn.replicas": 1,
    },
    "no workers": {
        "nodes.workers": {"count": 0},
        "nodes.control_planes": {
            "count": 3,
            "first_address": "192.168.1.230",
            "data_disk_gib": 50,
        },
    },
    "one worker": {"nodes.workers.count": 1, "longhorn.replicas": 1},
    "thirty workers": {"nodes.workers.count": 30},
    "several hosts with overrides": THREE_HOSTS,
    "no resource pool": {"proxmox.pool": None},
    "VLAN and production": {"network.vlan": 20, "traefik.acme.server": "production"},
    "backup of certificates": {"sops.age_key": {"secure": "v1:closed"}},
    "certificates with DNS-01": {
        "traefik.acme.dns": {
            "provider": "cloudflare",
            "credentials": {"CF_DNS_API_TOKEN": {"secure": "v1:closed"}},
            "wildcards": ["tazlab.net"],
        }
    },
    "backups": {"longhorn.backup": {"target": "nfs://192.168.1.5:/backups"}},
    "backups in a bucket": BUCKET,
    "charts from a registry": {
        f"{chart}.chart_repository": "oci://registry.example.org/charts"
        for chart in ("longhorn", "metallb", "traefik")
    },
    "Flux over SSH, with an age key": FLUX,
    "Flux and a public repository": {"flux": {"url": "https://github.com/me/manifests.git"}},
    "retained data disks": {"nodes.workers.keep_data_disk_on_destroy": True},
    "time servers, mirrors and patches": {
        "cluster.ntp": ["192.168.1.1"],
        "cluster.registry_mirrors": {"docker.io": ["https://mirror.example.org"]},
        "nodes.workers.patches": [{"machine": {"sysctls": {"vm.nr_hugepages": "1024"}}}],
    },
    "another image factory": {
        "image": {"factory": "https://factory.example.org/", "extensions": ["siderolabs/i915"]}
    },
}
"""Changes of ``Pulumi.homelab.yaml``, by the name of the variant."""


@functools.cache
def rehearsed_stack(stack: str) -> Rehearsal:
    """Rehearse a stack file of the repository. Do not change the result: tests share it."""
    return rehearse(stack)


@functools.cache
def rehearsed_fixture(name: str) -> Rehearsal:
    """Rehearse a valid stack file of ``tests/settings``. Do not change the result."""
    with tempfile.TemporaryDirectory() as folder:
        text = yaml.safe_dump({"config": document(FIXTURES[name])})
        (Path(folder) / f"Pulumi.{name}.yaml").write_text(text, encoding="utf-8")
        return rehearse(name, Path(folder))


@functools.cache
def rehearsed_variant(name: str) -> Rehearsal:
    """Rehearse a variant of ``Pulumi.homelab.yaml``. Do not change the result."""
    with tempfile.TemporaryDirectory() as folder:
        write_stack(Path(folder), "homelab", VARIANTS[name])
        return rehearse("homelab", Path(folder))


def write_stack(folder: Path, base: str, changes: dict[str, Any]) -> None:
    """Write a stack file of the repository to ``folder``, with other values at dotted paths."""
    text = (PROJECT_FOLDER / f"Pulumi.{base}.yaml").read_text(encoding="utf-8")
    stack_file = yaml.safe_load(text)
    for dotted, value in changes.items():
        group, *inner = dotted.split(".")
        parts = [dotted] if ":" in group else [f"{PROJECT}:{group}", *inner]
        holder = stack_file["config"]
        for part in parts[:-1]:
            holder = holder.setdefault(part, {})
        holder[parts[-1]] = value
    (folder / f"Pulumi.{base}.yaml").write_text(yaml.safe_dump(stack_file), encoding="utf-8")
