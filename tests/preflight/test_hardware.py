"""Hardware that somebody changed by hand: what stays, and the notes before it goes."""

from __future__ import annotations

from typing import Any

import pytest

from clients.proxmox.guests import Guest, mac_address
from preflight.hardware import hardware_notes, kept_inputs
from settings.models import Settings
from settings.running import RunningMachine, RunningStack
from tests.recorder import settings_with

TAG = "ephemeral-castle-homelab"
MAC = mac_address(TAG, 8010)
CONFIG = {
    "boot": "order=scsi0",
    "ide0": "none,media=cdrom",
    "ide2": "local-lvm:vm-8010-cloudinit,media=cdrom,size=4M",
    "net0": f"virtio={MAC},bridge=vmbr0,firewall=0",
    "scsi0": "local-lvm:vm-8010-disk-0,iothread=1,size=34G",
    "scsi1": "local-lvm:vm-8010-disk-1,iothread=1,size=43G",
}
NET1 = {"net1": "virtio=BC:24:11:00:00:01,bridge=vmbr9"}
SCSI3 = {"scsi3": "local-lvm:vm-8010-disk-2,size=4G"}

NETWORK = ["networkDevices", "ipv4Addresses", "ipv6Addresses", "networkInterfaceNames"]


def worker(
    *more: dict[str, str], vm_id: int = 8010, tags: str = f"{TAG} talos worker", **config: str
) -> Guest:
    """The VM of castle-worker-1, with these differences to what the settings describe."""
    found = frozenset({mac_address(TAG, vm_id)})
    both = CONFIG | config
    for values in more:
        both |= values
    lock = both.pop("lock", "")
    given = {key: value for key, value in both.items() if value}
    return Guest(
        vm_id,
        "any",
        "pve",
        "qemu",
        frozenset(tags.split()),
        mac_addresses=found,
        config=given,
        lock=lock,
    )


def kept(guest: Guest, settings: Settings | None = None) -> list[str]:
    return kept_inputs([guest], settings or settings_with()).get("castle-worker-1", [])


def notes(guest: Guest, **changes: Any) -> list[str]:
    return [str(note) for note in hardware_notes([guest], settings_with(**changes))]


@pytest.mark.parametrize(
    ("guest", "inputs"),
    [
        (worker(), []),
        (worker(tags=f"{TAG} talos worker backup"), ["tags"]),
        # A lost tag is restored.
        (worker(tags=f"{TAG} backup"), []),
        (worker(boot="order=scsi0;net0"), ["bootOrders"]),
        (worker(boot=""), []),
        (worker(NET1), NETWORK),
        (worker(net0=f"virtio={MAC},bridge=vmbr0,firewall=1"), NETWORK),
        (worker(SCSI3), ["disks"]),
        (worker(efidisk0="local-lvm:vm-8010-disk-3", unused0="local-lvm:vm-8010-disk-4"), []),
        (worker(hostpci0="mapping=gpu", description="note", parent="before"), []),
    ],
)
def test_what_the_settings_do_not_describe_stays(guest: Guest, inputs: list[str]) -> None:
    assert kept(guest) == inputs
    assert notes(guest) == []


def test_without_a_configuration_nothing_is_known() -> None:
    unread = Guest(8010, "castle-worker-1", "pve", "qemu", frozenset({TAG}))
    assert kept(unread) == [] and notes(unread) == []


def test_the_vm_of_somebody_else_is_no_concern() -> None:
    other = Guest(
        8010, "nas", "pve", "qemu", mac_addresses=frozenset(), config=SCSI3, lock="backup"
    )
    assert kept(other) == [] and notes(other) == []


@pytest.mark.parametrize("network", [{"bridge": "vmbr1"}, {"vlan": 20}])
def test_a_network_device_goes_with_a_change_of_the_network(network: dict[str, Any]) -> None:
    guest = worker(NET1)
    assert kept(guest, settings_with(network=network)) == []
    (text,) = notes(guest, network=network)
    assert text.startswith("castle-worker-1 (VM 8010 on pve): somebody added net1 in Proxmox.")
    assert "removes net1" in text and "add it again" in text
    assert notes(worker(), network=network) == []


def test_the_vlan_of_the_settings_is_compared() -> None:
    guest = worker(NET1, net0=f"virtio={MAC},bridge=vmbr0,tag=20")
    assert kept(guest, settings_with(network={"vlan": 20})) == NETWORK
    assert notes(guest, network={"vlan": 20}) == []
    assert len(notes(guest)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": {"workers": {"data_disk_gib": 60}}},
        {"nodes": {"workers": {"os_disk_gib": 40}}},
        {"proxmox": {"disk_datastore": "tank"}},
    ],
)
def test_a_disk_is_detached_by_a_change_of_the_disks(changes: dict[str, Any]) -> None:
    assert kept(worker(SCSI3), settings_with(**changes)) == []
    (text,) = notes(worker(SCSI3), **changes)
    assert "somebody attached scsi3 (local-lvm:vm-8010-disk-2) in Proxmox" in text
    assert "detaches" in text and "attach them again" in text
    assert notes(worker(), **changes) == []


def test_sizes_in_other_units_are_the_same_size() -> None:
    guest = worker(SCSI3, scsi0="local-lvm:vm-8010-disk-0,size=34816M")
    assert kept(guest) == ["disks"]


def test_a_vm_that_does_not_boot_from_its_os_disk_is_named() -> None:
    (text,) = notes(worker(boot="order=net0;ide2"))
    assert "boot order (net0, ide2) does not contain scsi0" in text
    assert kept(worker(boot="order=net0;ide2")) == []


def test_a_locked_vm_is_named_before_a_change_fails() -> None:
    (text,) = notes(worker(lock="backup"))
    assert "Proxmox has locked the VM (backup)" in text
    assert "wait until the backup ends" in text and "qm unlock 8010` on pve" in text


RUNNING = RunningStack(
    machines={"castle-worker-1": RunningMachine(name="castle-worker-1", vm_id=8010, host="pve")}
)
MOVED = {"nodes": {"overrides": {"worker-1": {"host": "pve2"}}}, "proxmox": {"hosts": ["pve2"]}}


def test_a_vm_with_a_device_of_its_host_does_not_migrate() -> None:
    guest = worker(hostpci0="0000:01:00", usb0="spice", usb1="host=1234:5678")
    (text,) = notes(guest, running=RUNNING, **MOVED)
    assert "its host becomes pve2" in text and "(hostpci0, usb1)" in text
    assert notes(guest, running=RUNNING) == []
    assert notes(worker(usb0="spice"), running=RUNNING, **MOVED) == []


def test_disks_that_go_with_a_removed_node_are_named() -> None:
    removed = RunningMachine(name="castle-worker-4", vm_id=8013, host="pve")
    running = RunningStack(machines={removed.name: removed})
    guest = worker(SCSI3, vm_id=8013, unused0="local-lvm:vm-8013-disk-3", lock="backup")
    disks, lock = notes(guest, running=running)
    assert disks.startswith("castle-worker-4 (VM 8013 on pve): `up` removes this node")
    assert "scsi3 (local-lvm:vm-8010-disk-2), unused0 (local-lvm:vm-8013-disk-3)" in disks
    assert "Wait until the backup ends" in lock
    assert notes(worker(vm_id=8013), running=running) == []
