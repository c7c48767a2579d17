"""Machines that somebody deleted, reset or switched off by hand are made, configured and joined."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, without
from tests.e2e.test_day_two import NEW, OLD, three
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up
from tests.e2e.watch import Kubernetes, watched

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)


def talosctl(lab: Lab, last: int, *command: str) -> str:
    """Run the real talosctl on a machine, as its owner would."""
    address = f"{lab.prefix}.{last}"
    file = Path(lab.folder) / "tmp" / "talosconfig"
    file.write_text(lab.opened("stack", "output", "talosconfig", "--show-secrets"))
    words = ["talosctl", *command, "-e", address, "-n", address, "--talosconfig", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def reset(lab: Lab, last: int, *more: str) -> None:
    """Reset a machine without a word to anybody."""
    talosctl(lab, last, "reset", "--graceful=false", *more)


def delete(lab: Lab, vm_id: int) -> None:
    """Delete a machine with its disks, as in Proxmox' web page."""
    path = f"/nodes/{lab.guests()[vm_id]['node']}/qemu/{vm_id}"
    lab.proxmox("POST", f"{path}/status/stop", timeout=1)
    lab.proxmox("DELETE", f"{path}?purge=1&destroy-unreferenced-disks=1")


def new_generation(node: str) -> set[tuple[str, str]]:
    """What a preview shows of a node whose machine was replaced, or has lost its config."""
    return {
        ("update", f"cluster-{node}"),
        ("replace", f"cluster-{node}-config"),
        ("update", "cluster-readiness"),
    }


def assert_whole(lab: Lab, nodes: int) -> None:
    """All nodes are ready, etcd has them all and no others, and nothing is left to do."""
    kubernetes = Kubernetes(lab)
    found = kubernetes.nodes()
    assert len(found) == nodes
    for node in found.values():
        ready = {it["type"]: it["status"] for it in node["status"]["conditions"]}["Ready"]
        assert ready == "True", node["metadata"]["name"]
    assert kubernetes.cordoned() == []
    rows = talosctl(lab, 253, "etcd", "members").splitlines()[1:]
    names = sorted(row.split()[2] for row in rows)
    assert names == sorted(name for name in found if "control-plane" in name)
    assert_no_diff(lab)


def test_three_control_planes_lose_one_after_the_other(make_lab: MakeLab) -> None:
    lab = three(make_lab, "v1.13.9", "v1.36.3")
    mac_address = lab.proxmox("GET", "/nodes/pve2/qemu/8001/config")["net0"]
    with watched(lab, removed=[f"{lab.prefix}.252"]):
        delete(lab, 8001)
        unaware = lab.preview()
        assert unaware.code != 0
        assert "VM 8001 of castle-control-plane-2 is not on Proxmox any more" in unaware.output
        assert "make recover" in unaware.output
        seen = lab.make("recover")
        assert seen.code == 0, seen.output
        planned = lab.preview()
        assert planned.code == 0, planned.output
        machine = ("create", "machines-castle-control-plane-2")
        assert set(planned.steps) == new_generation("castle-control-plane-2") | {machine}
        assert_up(lab)
    assert lab.proxmox("GET", "/nodes/pve2/qemu/8001/config")["net0"] == mac_address
    assert_whole(lab, nodes=5)
    with watched(lab, removed=[f"{lab.prefix}.156"]):
        reset(lab, 156, "--reboot")
        planned = lab.preview()
        assert planned.code == 0, planned.output
        assert set(planned.steps) == new_generation("castle-worker-2")
        assert "castle-worker-2 (127.0." in planned.output
        assert_up(lab)
    assert_whole(lab, nodes=5)
    # The first one, which the bootstrap came from. This way of a reset switches it off, too.
    reset(lab, 251)
    done = lab.up("--refresh")
    assert done.code == 0, done.output
    assert_whole(lab, nodes=5)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_a_machine_that_is_replaced_and_then_one_that_is_upgraded_too(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 2)
    lab.set("longhorn.replicas", 1)
    lab.set("cluster.talos", OLD)
    lab.set("timeouts", {"drain_s": 20, "return_s": 60, "rebuild_s": 60})
    assert_up(lab)
    replace = ("--replace", machine_urn(lab, "castle-worker-1"))
    done = lab.up("--skip-preview", *replace)
    assert done.code == 0, done.output
    # It has the VM id of the one before: its node, its config and the readiness know all the same.
    assert done.changes == {"updated": 2, "replaced": 2}
    assert_whole(lab, nodes=3)
    lab.set("cluster.talos", NEW)
    begin = time.monotonic()
    done = lab.up("--skip-preview", *replace)
    assert done.code == 0, done.output
    # Nobody waits for the node whose config only comes after the upgrades of all others.
    assert time.monotonic() - begin < 180
    assert set(Kubernetes(lab).versions().values()) == {f"Talos ({NEW})"}
    assert_whole(lab, nodes=3)
    # A machine that was reset keeps the Talos on its disk: the run after the next upgrades it.
    lab.set("image.extensions", ["siderolabs/i915"])
    reset(lab, 155, "--reboot")
    assert_up(lab)
    planned = lab.preview()
    assert planned.steps == [("update", "cluster-castle-worker-1")]
    assert_up(lab)
    assert_whole(lab, nodes=3)


def machine_urn(lab: Lab, node: str) -> str:
    """The URN of a node's VM."""
    parent = "ephemeral-castle:index:Machines$proxmoxve:index/vmLegacy:VmLegacy"
    return f"urn:pulumi:{lab.stack}::ephemeral-castle::{parent}::machines-{node}"
