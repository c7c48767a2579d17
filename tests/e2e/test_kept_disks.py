"""Data disks that are retained after ``down``: real engine, simulated Proxmox."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, without
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)

KEEPERS = {108010: "pve2", 108012: "pve2"}
"""Of the first and the third worker, by their ids: where they are."""


def disk(lab: Lab, id_: int, key: str) -> str:
    """The volume that a machine has there."""
    host = lab.guests()[id_]["node"]
    volume: str = lab.proxmox("GET", f"/nodes/{host}/qemu/{id_}/config")[key].partition(",")[0]
    return volume


def test_a_kept_data_disk_outlives_the_castle_and_is_found_again(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    lab.set("nodes.workers.keep_data_disk_on_destroy", True)
    lab.set("nodes.overrides", {"worker-2": {"keep_data_disk_on_destroy": False}})
    planned = lab.preview()
    assert planned.code == 0, planned.output
    assert ("create", "machines-castle-worker-1-data") in planned.steps
    assert ("create", "machines-castle-worker-2-data") not in planned.steps
    assert_up(lab)
    assert_no_diff(lab)
    refreshed = lab.pulumi("refresh", "--yes", "--stack", lab.stack)
    assert refreshed.code == 0 and not refreshed.changes
    again = lab.up()
    assert again.code == 0 and not again.changes
    kept = {id_: disk(lab, id_, "scsi0") for id_ in KEEPERS}
    assert {id_: disk(lab, id_ - 100_000, "scsi1") for id_ in KEEPERS} == kept
    assert disk(lab, 8011, "scsi1").startswith("local-lvm:vm-8011-")

    lab.set("nodes.workers.memory_mib", 9216)
    assert_up(lab)
    lab.set("nodes.workers.data_disk_gib", 50)
    grown = lab.preview()
    assert grown.code != 0 and "has 43, and cannot become 50 while it is retained" in grown.output
    lab.set("nodes.workers.data_disk_gib", 43)

    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert {id_: guest["node"] for id_, guest in lab.guests().items()} == KEEPERS
    assert all(guest["status"] == "stopped" for guest in lab.guests().values())
    for id_, volume in kept.items():
        assert disk(lab, id_, "scsi0") == volume

    assert_up(lab)
    assert {id_: disk(lab, id_ - 100_000, "scsi1") for id_ in KEEPERS} == kept
    assert_no_diff(lab)
    # One worker alone comes and goes the same way.
    lab.set("nodes.workers.count", 2)
    fewer = lab.up()
    assert fewer.code == 0, fewer.output
    assert disk(lab, 108012, "scsi0") == kept[108012]
    lab.set("nodes.workers.count", 3)
    assert_up(lab)
    assert disk(lab, 8012, "scsi1") == kept[108012]

    # No more kept: what there is stays as it is, and a machine that is made anew gets a new one.
    lab.set("nodes.workers.keep_data_disk_on_destroy", False)
    assert_up(lab)
    assert_no_diff(lab)
    assert disk(lab, 8010, "scsi1") == kept[108010]
    lab.set("nodes.overrides.worker-2.keep_data_disk_on_destroy", True)
    refused = lab.preview()
    assert refused.code != 0
    told = " ".join(refused.output.split())
    assert "so Proxmox deletes the disk with the VM" in told
    lab.set("nodes.overrides", {})
    assert lab.destroy().code == 0
    assert {id_: disk(lab, id_, "scsi0") for id_ in KEEPERS} == kept
    for id_, host in KEEPERS.items():
        lab.proxmox("PUT", f"/nodes/{host}/qemu/{id_}/config", protection=0)
        lab.proxmox("DELETE", f"/nodes/{host}/qemu/{id_}?purge=1")
    assert_empty(lab)
