"""The engine is killed while it creates a resource. ``up`` or ``down`` then continues.

``kill -9``: what was cut off finishes its work unseen, or does not, and nobody writes it down.
``make e2e`` takes a sample; with ``CASTLE_E2E=full`` it happens at each resource.
"""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.e2e.conftest import FULL, MakeLab
from tests.e2e.lab import Lab, missing
from tests.e2e.test_life import assert_empty, assert_no_diff

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

RESOURCES = (
    "image-schematic",
    "image-pve1",
    "machines-pool",
    "machines-castle-control-plane-1",
    "machines-castle-worker-1",
    "cluster-secrets",
    "cluster-etcd-snapshot",
    "cluster-castle-control-plane-1",
    "cluster-castle-worker-1",
    "cluster-kubernetes",
    "cluster-castle-control-plane-1-config",
    "cluster-castle-worker-1-config",
    "cluster-bootstrap",
    "cluster-readiness",
    "longhorn-namespace",
    "longhorn-release",
    "longhorn-storage",
    "metallb-namespace",
    "metallb-release",
    "metallb-pool",
    "metallb-advertisement",
    "traefik-namespace",
    "traefik-certificates",
    "traefik-release",
    "whoami-namespace",
    "whoami-deployment",
    "whoami-service",
    "whoami-route",
    "record",
)
SAMPLE = ("machines-pool", "machines-castle-worker-1", "cluster-bootstrap", "traefik-release")


def lab_with_a_killed_engine(make_lab: MakeLab, resource: str) -> Lab:
    """A stack of two machines whose first ``up`` was killed while it created a resource."""
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    lab.kill_at(f" {resource} creating")
    return lab


@pytest.mark.parametrize("resource", RESOURCES if FULL else SAMPLE)
def test_up_goes_on(make_lab: MakeLab, resource: str) -> None:
    lab = lab_with_a_killed_engine(make_lab, resource)
    done = lab.make("up")
    assert done.code == 0, done.output
    assert "has no engine: end it" in done.output
    assert lab.providers() == []
    assert_no_diff(lab)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)


@pytest.mark.parametrize("resource", RESOURCES if FULL else SAMPLE[:2])
def test_down_leaves_nothing(make_lab: MakeLab, resource: str) -> None:
    lab = lab_with_a_killed_engine(make_lab, resource)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert lab.providers() == []
    assert_empty(lab)
    # Otherwise the next `up` would report a run that did not finish.
    assert not json.loads(lab.state())["deployment"].get("pending_operations")


def test_down_waits_for_a_disk_that_proxmox_still_imports(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    lab.control("POST", "/tasks", {"import_s": 25})
    process = lab.start("up", "--yes", "--skip-preview", "--stack", lab.stack)
    while 8010 not in lab.guests():
        assert process.poll() is None, "it was never made"
    lab.kill(process)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_every_resource_is_among_them(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    planned = {name for op, name in lab.preview().steps if op == "create"}
    components = {"image", "machines", "cluster", "longhorn", "metallb", "traefik", "whoami"}
    providers = {"proxmox", "talos", "dynamic", "kubernetes"}
    assert planned - components - providers - {f"ephemeral-castle-{lab.stack}"} == set(RESOURCES)


def test_a_run_that_is_at_work_is_left_alone(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    process = lab.up_until("machines-castle-worker-1 creating")
    # Held, so that it is at work for as long as the three words take.
    os.kill(process.pid, signal.SIGSTOP)
    try:
        for word in ("recover", "up", "down"):
            refused = lab.make(word)
            assert refused.code != 0
            assert f"Another run is active: process {process.pid} of" in refused.output
    finally:
        os.kill(process.pid, signal.SIGCONT)
    done = lab.finish(process)
    assert done.code == 0, done.output
    assert_no_diff(lab)
