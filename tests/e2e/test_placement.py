"""Where machines are: one more host moves no machine, and new ones go where there is room."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import Lab, missing
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def hosts(lab: Lab) -> dict[int, str]:
    """By VM id: the host that the VM is on."""
    return {id_: guest["node"] for id_, guest in lab.guests().items()}


def test_a_fourth_host_moves_nothing_and_gets_the_next_machine(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2", "pve3", "pve4")
    lab.set("proxmox.hosts", ["pve1", "pve2", "pve3"])
    lab.set("nodes.workers.count", 4)
    assert_up(lab)
    first = {8000: "pve1", 8010: "pve3", 8011: "pve2", 8012: "pve1", 8013: "pve3"}
    assert hosts(lab) == first
    lab.set("proxmox.hosts", ["pve1", "pve2", "pve3", "pve4"])
    assert_no_diff(lab)
    lab.set("nodes.workers.count", 5)
    planned = lab.preview()
    assert planned.code == 0, planned.output
    changed = {(op, name) for op, name in planned.steps if op != "create"}
    updated = {"cluster-readiness", "longhorn-storage", "record"}
    assert changed == {("update", name) for name in updated}
    more = lab.up("--skip-preview")
    assert more.code == 0, more.output
    assert hosts(lab) == first | {8014: "pve4"}
    # A host that is no longer in the list: its machines move, and the preview says so.
    lab.set("proxmox.hosts", ["pve1", "pve2", "pve3"])
    leaving = lab.preview()
    said = " ".join(leaving.output.split())
    assert "castle-worker-5 moves from the Proxmox host pve4 to pve2" in said, leaving.output
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)
