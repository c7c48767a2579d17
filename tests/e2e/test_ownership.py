"""To whom a VM belongs, and where it is: machines of others, changed and moved VMs."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, without
from tests.e2e.test_life import assert_no_diff, assert_up, standing
from tests.e2e.test_repair import delete

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
CONFIG = "/nodes/pve1/qemu/8010/config"


def one_worker(make_lab: MakeLab) -> Lab:
    """A running cluster with one control plane (8000) and one worker (8010)."""
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    assert_up(lab)
    return lab


def give_id_to_a_nas(lab: Lab) -> None:
    """Delete the worker's VM by hand, and give its VM id to another machine, in the same pool."""
    delete(lab, 8010)
    pool = lab.config["ephemeral-castle:proxmox"]["pool"]
    nas = {"vmid": 8010, "name": "precious-nas", "scsi0": "local-lvm:4", "pool": pool}
    lab.proxmox("POST", "/nodes/pve1/qemu", **nas)
    lab.proxmox("POST", "/nodes/pve1/qemu/8010/status/start", timeout=1)


def assert_only_the_nas_is_left(lab: Lab) -> None:
    """The other machine stands with its disk, and nothing of the stack is left."""
    assert [guest["name"] for guest in lab.guests().values()] == ["precious-nas"]
    disks = lab.proxmox("GET", "/nodes/pve1/storage/local-lvm/content")
    assert [disk["volid"] for disk in disks] == ["local-lvm:vm-8010-disk-0"]
    assert lab.proxmox("GET", "/nodes/pve1/storage/local/content") == []
    assert lab.proxmox("GET", "/pools") == []


def test_a_machine_that_took_the_id_of_a_deleted_vm_is_never_touched(make_lab: MakeLab) -> None:
    lab = one_worker(make_lab)
    give_id_to_a_nas(lab)
    before = standing(lab)[8010]
    for done in (lab.preview(), lab.up("--skip-preview"), lab.make("refresh"), lab.make("recover")):
        assert done.code != 0, done.output
        text = " ".join(done.output.split())
        assert "VM id 8010, wanted for castle-worker-1, is taken" in text
        assert "'precious-nas', which is not part of this stack" in text
        assert standing(lab)[8010] == before
    # `make recover` took the worker out of the state, so it can get another VM id.
    lab.set("nodes.overrides", {"worker-1": {"vm_id": 8099}})
    assert_up(lab)
    assert_no_diff(lab)
    assert standing(lab)[8010] == before
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_only_the_nas_is_left(lab)


def test_down_leaves_a_machine_alone_that_took_the_id_of_a_deleted_vm(make_lab: MakeLab) -> None:
    lab = one_worker(make_lab)
    give_id_to_a_nas(lab)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert "leave 'precious-nas' on pve1 alone" in gone.output
    assert_only_the_nas_is_left(lab)
    assert lab.guests()[8010]["status"] == "running"


def test_a_vm_without_its_tag_is_ours_and_with_another_mac_address_nobody_knows(
    make_lab: MakeLab,
) -> None:
    lab = one_worker(make_lab)
    tags = lab.proxmox("GET", CONFIG)["tags"]
    net0 = str(lab.proxmox("GET", CONFIG)["net0"])
    mac = net0.partition(",")[0].partition("=")[2]
    lab.proxmox("PUT", CONFIG, tags="talos")
    assert_up(lab)
    lab.proxmox("PUT", CONFIG, tags=tags, net0=net0.replace(mac, "BC:24:11:00:00:01"))
    before = standing(lab)
    for done in (lab.preview(), lab.up("--skip-preview"), lab.make("refresh"), lab.make("recover")):
        assert done.code != 0, done.output
        assert f"in Proxmox back to {mac}" in " ".join(done.output.split())
    assert standing(lab) == before
    lab.proxmox("PUT", CONFIG, net0=net0)
    assert_no_diff(lab)
    # A clone has the tag, but another MAC address and VM id.
    clone = {"vmid": 8050, "name": "clone", "tags": tags, "net0": "virtio=BC:24:11:00:00:02"}
    lab.proxmox("POST", "/nodes/pve1/qemu", **clone)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert [guest["name"] for guest in lab.guests().values()] == ["clone"]


def test_a_vm_that_was_moved_to_another_host_stays_there(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    assert_up(lab)
    old = lab.guests()[8010]["node"]
    new = {"pve1": "pve2", "pve2": "pve1"}[old]
    lab.proxmox("POST", f"/nodes/{old}/qemu/8010/migrate", target=new, online=1)
    before = standing(lab)
    assert before[8010]["node"] == new
    preview = lab.preview()
    assert preview.code == 0 and not preview.changes, preview.output
    assert f"castle-worker-1 was moved from {old} to {new}. It stays there" in preview.output
    for word in ("up", "refresh", "up"):
        done = lab.make(word)
        assert done.code == 0, done.output
        assert standing(lab) == before
    assert_no_diff(lab)
    # Only an override moves it again. (The rack has no HA, which the provider asks before it does.)
    lab.set("nodes.overrides", {"worker-1": {"host": old}})
    assert ("update", "machines-castle-worker-1") in lab.preview().steps
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert lab.guests() == {}
