"""The Pulumi state is lost while the cluster runs: a new computer, or a deleted ``.state/``."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import Lab, missing
from tests.e2e.test_gitops import read_back
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up, standing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def small_lab(make_lab: MakeLab) -> Lab:
    """A stack of two nodes."""
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    return lab


def lose_state(lab: Lab) -> None:
    """Delete the state of all stacks, with its history and backups."""
    lab.learn_secrets()
    shutil.rmtree(lab.folder / "state")
    (lab.folder / "state").mkdir()
    shutil.rmtree(lab.program / ".state", ignore_errors=True)
    assert lab.pulumi("stack", "init", lab.stack).code == 0


def test_a_lost_state_is_refused_and_down_removes_everything(make_lab: MakeLab) -> None:
    lab = small_lab(make_lab)
    nas = {"vmid": 105, "name": "precious-nas", "scsi0": "local-lvm:4"}
    lab.proxmox("POST", "/nodes/pve1/qemu", **nas)
    assert_up(lab)
    lose_state(lab)
    before = standing(lab)
    refusals = (lab.preview(), lab.make("up"), lab.up("--skip-preview"), lab.make("recover"))
    for refused in refusals:
        assert refused.code != 0, refused.output
        assert "The Pulumi state of the stack lab is lost" in refused.output
        assert "castle-control-plane-1 (VM 8000 on pve1)" in refused.output
        assert "castle-worker-1 (VM 8010 on pve1)" in refused.output
    assert standing(lab) == before
    # A cluster that is switched off is no less alive.
    for vm_id in (8000, 8010):
        lab.proxmox("POST", f"/nodes/pve1/qemu/{vm_id}/status/stop", timeout=1)
    refused = lab.make("up")
    assert refused.code != 0
    assert "castle-worker-1 (VM 8010 on pve1)" in refused.output
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert list(lab.guests()) == [105]
    lab.proxmox("DELETE", "/nodes/pve1/qemu/105?purge=1&destroy-unreferenced-disks=1")
    assert_empty(lab)
    done = lab.make("up")
    assert done.code == 0, done.output


def test_recover_imports_the_copy_and_nothing_is_left_to_do(make_lab: MakeLab) -> None:
    lab = small_lab(make_lab)
    made = lab.make("age-key")
    assert made.code == 0, made.output
    read_back(lab)
    kept = lab.folder / "kept"
    lab.set("traefik.acme.backup", {"target": str(kept)})
    done = lab.make("up")
    assert done.code == 0, done.output
    assert [it.name for it in kept.iterdir()] == ["lab-state.age"]
    lose_state(lab)
    refused = lab.make("up")
    assert refused.code != 0 and "`make recover`" in refused.output
    assert [it.name for it in kept.iterdir()] == ["lab-state.age"]
    # A worker was deleted after the copy was saved.
    lab.proxmox("POST", "/nodes/pve1/qemu/8010/status/stop", timeout=1)
    lab.proxmox("DELETE", "/nodes/pve1/qemu/8010?purge=1&destroy-unreferenced-disks=1")
    found = lab.make("recover")
    assert found.code == 0, found.output
    assert "the backup store has a copy: number 1, saved 20" in found.output
    assert "castle-control-plane-1, castle-worker-1" in found.output
    assert "It is OLDER than what runs:" in found.output
    assert "castle-worker-1 (VM 8010) is not on Proxmox any more" in found.output
    done = lab.make("up")
    assert done.code == 0, done.output
    lose_state(lab)
    found = lab.make("recover")
    assert found.code == 0, found.output
    assert "OLDER" not in found.output
    assert_no_diff(lab)
    # After a rebuild with another state, the copy of the cluster before is recognized.
    older = (kept / "lab-state.age").read_bytes()
    for command in ("down", "up"):
        assert lab.make(command).code == 0
    lose_state(lab)
    (kept / "lab-state.age").write_bytes(older)
    refused = lab.make("recover")
    assert refused.code != 0
    assert "It is the copy of an earlier cluster" in refused.output


def test_down_without_the_passphrase_takes_the_token_from_the_environment(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = small_lab(make_lab)
    assert_up(lab)
    lab.learn_secrets()
    monkeypatch.setattr("tests.e2e.lab.PASSPHRASE", "another passphrase")
    refused = lab.make("up")
    assert refused.code != 0 and "incorrect passphrase" in refused.output
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert "The passphrase is wrong or not set" in gone.output
    assert "Nothing of the stack is left on Proxmox" in gone.output
    assert_empty(lab)
