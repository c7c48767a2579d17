"""Hardware of a VM that somebody changed by hand in Proxmox: it stays, or is named before."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, Run, without
from tests.e2e.test_life import assert_no_diff, assert_up
from tests.e2e.test_ownership import CONFIG, one_worker

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
WORKER = "castle-worker-1 (VM 8010 on pve1)"
BY_HAND = {
    "net1": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
    "scsi3": "local-lvm:4",
    "hostpci0": "mapping=gpu,pcie=1",
    "usb0": "mapping=stick",
    "tags": "backup;ephemeral-castle-lab;talos;worker",
    "description": "rack 2, slot 4",
    "boot": "order=scsi0;net0",
    "startup": "order=3",
}


def config(lab: Lab) -> dict[str, Any]:
    """The configuration of the worker's VM, without what changes with it."""
    found = lab.proxmox("GET", CONFIG)
    return {key: value for key, value in found.items() if key != "digest"}


def text_of(run: Run) -> str:
    """What a command said, in one line."""
    return " ".join(run.output.split())


def test_what_the_settings_do_not_describe_stays_or_is_named_before_it_goes(
    make_lab: MakeLab,
) -> None:
    lab = one_worker(make_lab)
    lab.proxmox("PUT", CONFIG, **BY_HAND)
    before = config(lab)
    assert WORKER not in text_of(lab.preview())
    assert_no_diff(lab)
    # After a change, and after a refresh, the state has what the settings do not describe.
    lab.set("nodes.workers.memory_mib", 9216)
    assert_up(lab)
    assert_no_diff(lab)
    assert lab.make("refresh").code == 0
    assert_no_diff(lab)
    assert_up(lab)
    assert config(lab) == before | {"memory": "9216"}

    # An input that contains what somebody added cannot change without removing it.
    lab.set("nodes.workers.data_disk_gib", 60)
    assert f"{WORKER}: somebody attached scsi3" in text_of(lab.preview())
    grown = lab.up()
    assert grown.code == 0 and "attached scsi3" in text_of(grown), grown.output
    after = config(lab)
    assert "scsi3" not in after and after["unused0"] in before["scsi3"]
    lab.set("network.vlan", 20)
    assert f"{WORKER}: somebody added net1 in Proxmox" in text_of(lab.preview())
    assert_up(lab)
    assert "net1" not in config(lab) and config(lab)["hostpci0"] == before["hostpci0"]
    assert_no_diff(lab)

    # A VM that Proxmox backs up.
    lab.proxmox("PUT", CONFIG, lock="backup")
    lab.set("nodes.workers.memory_mib", 8192)
    assert f"{WORKER}: Proxmox has locked the VM (backup)" in text_of(lab.preview())
    refused = lab.up("--skip-preview")
    assert refused.code != 0 and "castle-worker-1 was not changed" in text_of(refused)
    checked = lab.doctor()
    assert "wait until the backup ends" in text_of(checked)
    lab.proxmox("PUT", CONFIG, skiplock=1, delete="lock")
    assert_up(lab)
    assert config(lab)["memory"] == "8192"
    assert_no_diff(lab)
