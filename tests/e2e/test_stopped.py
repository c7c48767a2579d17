"""Day two goes on: a killed engine, a dead node, five control planes, no talosctl."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, without
from tests.e2e.test_day_two import NEW, OLD, three
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up
from tests.e2e.watch import Kubernetes, diary, rebooted, watched

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)


def make_up(lab: Lab) -> None:
    """What a person does after a power cut."""
    done = lab.make("up")
    assert done.code == 0, done.output


def test_a_killed_upgrade_and_a_killed_removal_go_on(make_lab: MakeLab) -> None:
    lab = three(make_lab, OLD, "v1.36.3")
    kubernetes = Kubernetes(lab)
    lab.set("cluster.talos", NEW)
    begin = len(diary(lab))
    with watched(lab):
        lab.kill_at("cluster-castle-control-plane-3 updating")
        make_up(lab)
    assert set(kubernetes.versions().values()) == {f"Talos ({NEW})"}
    turns = [address.rpartition(".")[2] for address in rebooted(diary(lab)[begin:])]
    assert sorted(turns) == ["155", "156", "251", "252", "253"], "each once"
    assert kubernetes.cordoned() == []
    assert_no_diff(lab)
    lab.set("nodes.control_planes.count", 1)
    removed = [f"{lab.prefix}.{last}" for last in ("252", "253")]
    with watched(lab, removed=removed):
        lab.kill_at("cluster-castle-control-plane-3 deleting")
        make_up(lab)
    assert len(kubernetes.nodes()) == 3
    assert kubernetes.cordoned() == []
    assert sorted(lab.guests()) == [8000, 8010, 8011]
    assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_five_control_planes_three_again_and_without_a_dead_worker(make_lab: MakeLab) -> None:
    lab = three(make_lab, NEW, "v1.36.3", first=231)
    kubernetes = Kubernetes(lab)
    lab.set("nodes.workers.count", 3)
    lab.set("nodes.control_planes.count", 5)
    planned = lab.preview()
    assert planned.changes == {"create": 9, "update": 3}, planned.steps
    with watched(lab):
        more = lab.up("--skip-preview")
    assert (more.code, more.changes) == (0, {"created": 9, "updated": 3})
    assert len(kubernetes.nodes()) == 8
    assert_no_diff(lab)
    host = lab.guests()[8012]["node"]
    lab.proxmox("POST", f"/nodes/{host}/qemu/8012/status/stop", timeout=1)
    lab.set("nodes.workers.count", 2)
    lab.set("nodes.control_planes.count", 3)
    with watched(lab, removed=[f"{lab.prefix}.{last}" for last in (157, 234, 235)]):
        fewer = lab.up("--skip-preview")
    assert (fewer.code, fewer.changes) == (0, {"deleted": 9, "updated": 3}), fewer.output
    assert len(kubernetes.nodes()) == 5
    assert sorted(lab.guests()) == [8000, 8001, 8002, 8010, 8011]
    assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_a_preview_says_that_talosctl_is_missing_or_too_old(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 2)
    lab.set("cluster.talos", OLD)
    assert_up(lab)
    tools = tmp_path / "tools"
    tools.mkdir()
    engine = Path(str(shutil.which("pulumi"))).parent
    for program in engine.iterdir():
        if program.name != "talosctl":
            (tools / program.name).symlink_to(program)
    folders = map(Path, os.environ["PATH"].split(os.pathsep))
    others = [str(it) for it in folders if not (it / "talosctl").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join([str(tools), *others]))
    requests = len(lab.control("GET", "/requests"))
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    assert_refused(lab, "castle-worker-2: This change needs talosctl, which is not on PATH")
    lab.set("nodes.workers.count", 2)
    lab.set("cluster.talos", NEW)
    assert_refused(lab, "This change needs talosctl, which is not on PATH")
    old = tools / "talosctl"
    old.write_text("#!/bin/sh\necho Client v1.11.2\n")
    old.chmod(0o755)
    assert_refused(lab, "The talosctl on PATH is v1.11.2, too old for Talos v1.13.9")
    told = lab.control("GET", "/requests")[requests:]
    # An `up` without a preview may have fetched the new image by then; no machine was touched.
    assert [it for it in told if "/qemu" in it["path"] and it["method"] != "GET"] == []
    assert {it["method"] for it in told if it["api"] == "talos"} <= {"Disks"}


def assert_refused(lab: Lab, why: str) -> None:
    """A preview ends with a reason, and so does an `up` that skips it."""
    for run in (lab.preview(), lab.up("--skip-preview")):
        assert run.code != 0
        assert why in run.output
