"""The power of the whole house fails, of the hosts and of the computer that runs ``make``.

A host that has power again starts the VMs that start on boot, if Proxmox has not locked them.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, without
from tests.e2e.test_day_two import NEW, OLD
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up
from tests.e2e.test_ownership import one_worker
from tests.e2e.watch import Kubernetes, order, wait_until

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
LIMIT = 120
"""Seconds that anything may take that a scenario waits for."""


def cut_power(lab: Lab, process: subprocess.Popen[str] | None = None) -> None:
    """Cut the power in the middle of a command, and give it back."""
    if process:
        lab.kill(process)
        lab.close()
    lab.control("POST", "/power", {"on": False})
    lab.control("POST", "/power", {"on": True})


def ready(kubernetes: Kubernetes, boots: dict[str, str] | None = None) -> bool:
    """Whether both nodes are ready, in other boots than these."""
    nodes = kubernetes.nodes()
    statuses = [
        condition["status"]
        for node in nodes.values()
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    ]
    new = boot_ids(kubernetes).items() & (boots or {}).items()
    return statuses == ["True", "True"] and not new


def boot_ids(kubernetes: Kubernetes) -> dict[str, str]:
    """The boot that each node is in, by name."""
    nodes = kubernetes.nodes()
    return {name: node["status"]["nodeInfo"]["bootID"] for name, node in nodes.items()}


def assert_make(lab: Lab, word: str) -> str:
    """Run ``make up`` or ``make down``, which succeeds; returns its output."""
    done = lab.make(word)
    assert done.code == 0, done.output
    return done.output


def first_up(make_lab: MakeLab) -> Lab:
    """A stack with one control plane and one worker that has no resource yet."""
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    return lab


def test_at_rest_all_comes_back_and_a_vm_that_is_off_or_locked_by_one_up(
    make_lab: MakeLab,
) -> None:
    lab = one_worker(make_lab)
    kubernetes = Kubernetes(lab)
    boots = boot_ids(kubernetes)
    cut_power(lab)
    wait_until(lambda: ready(kubernetes, boots), LIMIT)
    assert "Nothing to change." in assert_make(lab, "up")
    # Proxmox was backing the worker up: the lock stays, and the VM does not start.
    lab.control("POST", "/locks", {"8010": "backup"})
    boots = boot_ids(kubernetes)
    cut_power(lab)
    locked = lab.make("up")
    assert locked.code != 0
    assert "castle-worker-1 (VM 8010 on pve1) is switched off and locked" in locked.output
    assert "`qm unlock 8010`" in locked.output
    lab.control("POST", "/locks", {"8010": ""})
    assert_make(lab, "up")
    wait_until(lambda: ready(kubernetes, boots), LIMIT)
    assert_no_diff(lab)
    assert "Nothing to change." in assert_make(lab, "up")


@pytest.mark.parametrize(
    "resource", ["cluster-castle-control-plane-1-config", "cluster-bootstrap", "traefik-release"]
)
def test_a_first_up_goes_on(make_lab: MakeLab, resource: str) -> None:
    lab = first_up(make_lab)
    order(lab, etcd_pull_s=3)
    process = lab.up_until(f" {resource} creating")
    cut_power(lab, process)
    assert_make(lab, "up")
    assert lab.providers() == []
    assert_no_diff(lab)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)


@pytest.mark.parametrize("word", ["up", "down"])
def test_vms_whose_disks_were_imported_are_named(make_lab: MakeLab, word: str) -> None:
    lab = first_up(make_lab)
    lab.control("POST", "/tasks", {"import_s": 300})
    process = lab.start("up", "--yes", "--skip-preview", "--stack", lab.stack)
    wait_until(lambda: sorted(lab.guests()) == [8000, 8010], LIMIT)
    cut_power(lab, process)
    lab.control("POST", "/tasks", {"import_s": 0})
    refused = lab.make(word)
    assert refused.code != 0
    text = " ".join(refused.output.split())
    for vm_id in (8000, 8010):
        assert f"VM {vm_id} on pve1 is locked (create)" in text
        assert f"`qm unlock {vm_id} && qm destroy {vm_id} --destroy-unreferenced-disks 1`" in text
        lab.control("POST", "/locks", {str(vm_id): ""})
        lab.proxmox("DELETE", f"/nodes/pve1/qemu/{vm_id}?destroy-unreferenced-disks=1")
    assert_make(lab, word)
    if word == "up":
        assert_no_diff(lab)
        assert_make(lab, "down")
    assert_empty(lab)


def test_an_upgrade_goes_on(make_lab: MakeLab) -> None:
    lab = first_up(make_lab)
    lab.set("cluster.talos", OLD)
    assert_up(lab)
    kubernetes = Kubernetes(lab)
    lab.set("cluster.talos", NEW)
    process = lab.start("up", "--yes", "--skip-preview", "--stack", lab.stack)
    wait_until(lambda: kubernetes.cordoned() != [], LIMIT)
    cut_power(lab, process)
    assert_make(lab, "up")
    assert set(kubernetes.versions().values()) == {f"Talos ({NEW})"}
    assert kubernetes.cordoned() == []
    assert_no_diff(lab)


def test_down_goes_on_and_the_next_up_reports_nothing(make_lab: MakeLab) -> None:
    lab = one_worker(make_lab)
    process = lab.start("destroy", "--yes", "--skip-preview", "--stack", lab.stack)
    assert process.stdout is not None
    assert any("machines-castle-worker-1 deleting" in line for line in process.stdout)
    cut_power(lab, process)
    assert_make(lab, "down")
    assert_empty(lab)
    assert "did not finish" not in assert_make(lab, "up")
    assert_no_diff(lab)


def test_a_state_that_was_being_written_comes_back_from_its_copy(make_lab: MakeLab) -> None:
    lab = one_worker(make_lab)
    state = lab.folder / "state/.pulumi/stacks/ephemeral-castle/lab.json"
    state.write_text("")
    output = assert_make(lab, "up")
    assert "lab.json is half-written" in output
    assert_no_diff(lab)
    state.write_text("")
    assert_make(lab, "down")
    assert_empty(lab)
