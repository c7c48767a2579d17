"""The filesystems of a machine, in the view of its host and of its kubelet."""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml

from tests.e2e.rack.proxmox.guests import Guest, GuestDisk
from tests.e2e.rack.talos.config import MachineConfig
from tests.e2e.rack.talos.mounts import (
    Partitions,
    kubelet_binds,
    kubelet_filesystem,
    pod_filesystem,
)

from .machine_configs import SELECTOR, ClusterSecrets

GIB = 1024**3
MIB = 1024**2
OS_DISK = GuestDisk(
    device="/dev/sda",
    size=34 * GIB,
    serial="os",
    is_boot_disk=True,
    image_url="https://images.test",
    identity="os",
)
DATA_DISK = GuestDisk(
    device="/dev/sdb", size=43 * GIB, serial="data", is_boot_disk=False, image_url="", identity="a"
)
GUEST = Guest(
    vmid=201,
    name="worker",
    address="127.0.0.1",
    memory=4 * GIB,
    cores=2,
    disks=(OS_DISK, DATA_DISK),
)
DATA = 43 * GIB - 2 * MIB - 64 * MIB
EPHEMERAL = 34 * GIB - 2204 * MIB - 64 * MIB


def config(*, grows: bool = False, binds: dict[str, str] | None = None) -> MachineConfig:
    """A worker's configuration with a user volume."""
    data = ClusterSecrets().config("worker", "worker1", selector=SELECTOR)
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(data))
    for document in documents:
        if document.get("kind") == "UserVolumeConfig":
            document["provisioning"]["grow"] = grows
            document["provisioning"]["diskSelector"]["match"] = "!system_disk"
    documents[0]["machine"]["kubelet"] = {
        "extraMounts": [
            {"destination": destination, "source": source, "type": "bind", "options": ["bind"]}
            for destination, source in (binds or {}).items()
        ]
    }
    return MachineConfig.parse(yaml.safe_dump_all(documents).encode())


def with_data_disk(size: int, identity: str = "a") -> Guest:
    """The guest with another data disk."""
    disk = dataclasses.replace(DATA_DISK, size=size, identity=identity)
    return dataclasses.replace(GUEST, disks=(OS_DISK, disk))


def data_capacity(partitions: Partitions, config: MachineConfig, guest: Guest) -> int:
    """Bytes of the user volume."""
    return pod_filesystem(partitions.mounts(config, guest), "/var/mnt/longhorn").capacity


def test_a_pod_sees_the_mounts_of_the_host_and_not_those_of_the_kubelet() -> None:
    ours = config(binds={"/var/lib/longhorn": "/var/mnt/longhorn"})
    partitions = Partitions()
    partitions.provision(ours, GUEST, boots=False)
    mounts = partitions.mounts(ours, GUEST)
    binds = kubelet_binds(ours)
    assert pod_filesystem(mounts, "/var/mnt/longhorn/replicas").capacity == DATA
    assert pod_filesystem(mounts, "/var/lib/longhorn/").capacity == EPHEMERAL
    assert pod_filesystem(mounts, "/var/mnt/longhorn-2").mount_point == "/var"
    assert pod_filesystem(mounts, "/data").is_read_only
    seen = kubelet_filesystem(mounts, binds, "/var/lib/longhorn/replicas")
    assert (seen.mount_point, seen.capacity) == ("/var/mnt/longhorn", DATA)
    assert kubelet_filesystem(mounts, binds, "/var/mnt/longhorn").capacity == DATA
    assert kubelet_filesystem(mounts, binds, "/var/lib/kubelet").capacity == EPHEMERAL


def test_without_a_data_disk_its_folder_lies_on_the_os_disk() -> None:
    guest = dataclasses.replace(GUEST, disks=(OS_DISK,))
    partitions, ours = Partitions(), config()
    partitions.provision(ours, guest, boots=False)
    assert pod_filesystem(partitions.mounts(ours, guest), "/var/mnt/longhorn").mount_point == "/var"


def test_without_a_configuration_nothing_is_mounted() -> None:
    partitions = Partitions()
    partitions.provision(None, GUEST, boots=True)
    assert [mount.mount_point for mount in partitions.mounts(None, GUEST)] == ["/"]


def test_a_user_volume_grows_in_a_boot_and_only_if_it_may() -> None:
    for grows, expected in ((True, DATA + 7 * GIB), (False, DATA)):
        partitions, ours = Partitions(), config(grows=grows)
        partitions.provision(ours, GUEST, boots=False)
        larger = with_data_disk(50 * GIB)
        partitions.provision(ours, larger, boots=False)
        assert data_capacity(partitions, ours, larger) == DATA
        partitions.provision(ours, larger, boots=True)
        assert data_capacity(partitions, ours, larger) == expected


def test_another_disk_is_another_filesystem_and_a_reset_makes_another_ephemeral() -> None:
    partitions, ours = Partitions(), config()
    partitions.provision(ours, GUEST, boots=False)
    before = {m.mount_point: m.identity for m in partitions.mounts(ours, GUEST)}
    partitions.wipe()
    other = with_data_disk(50 * GIB, identity="b")
    partitions.provision(ours, other, boots=False)
    after = {m.mount_point: m.identity for m in partitions.mounts(ours, other)}
    assert before.keys() == after.keys()
    assert [path for path in before if before[path] == after[path]] == ["/"]
    assert data_capacity(partitions, ours, other) == DATA + 7 * GIB
