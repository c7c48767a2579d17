"""Longhorn's nodes and disks on simulated machines."""

from __future__ import annotations

import pytest

from tests.e2e.rack.kubernetes.longhorn.objects import find_condition
from tests.e2e.rack.kubernetes.longhorn.scheduling import Disk
from tests.e2e.rack.kubernetes.longhorn.settings import Settings

from .longhorn_cluster import DATA, EPHEMERAL, GIB, LonghornCluster

BIND = {"/var/lib/longhorn": "/var/mnt/longhorn"}


@pytest.mark.parametrize(
    ("path", "capacity"), [("/var/lib/longhorn", EPHEMERAL), ("/var/mnt/longhorn", DATA)]
)
async def test_a_disk_is_as_large_as_the_filesystem_that_pods_see(path: str, capacity: int) -> None:
    cluster = LonghornCluster(default_data_path=path)
    cluster.add_node("w1", zone="pve1", extra_mounts=BIND)
    await cluster.settle()
    spec, status = cluster.disk("w1")
    assert (spec["path"], spec["allowScheduling"], spec["diskType"]) == (path, True, "filesystem")
    assert status["storageMaximum"] == capacity
    assert status["diskUUID"] and status["filesystemType"] == "xfs"
    assert [it["status"] for it in status["conditions"]] == ["True", "True"]
    assert cluster.find("nodes", "w1")["status"]["zone"] == "pve1"


async def test_every_node_is_there_and_only_a_labelled_one_has_a_disk() -> None:
    cluster = LonghornCluster(storage_reserved_percentage_for_default_disk="30")
    cluster.add_node("cp1", data_gib=None)
    cluster.add_node("w1")
    await cluster.settle()
    assert cluster.names("nodes") == ["cp1", "w1"]
    assert cluster.find("nodes", "cp1")["spec"]["disks"] == {}
    spec, _ = cluster.disk("w1")
    assert spec["storageReserved"] == DATA * 30 // 100
    cluster.configure(storage_reserved_percentage_for_default_disk="0")
    await cluster.settle()
    assert cluster.disk("w1")[0]["storageReserved"] == spec["storageReserved"]


async def test_without_the_setting_every_node_has_a_disk() -> None:
    cluster = LonghornCluster(create_default_disk_labeled_nodes="false")
    cluster.add_node("cp1", data_gib=None)
    await cluster.settle()
    assert cluster.disk("cp1")[1]["storageMaximum"] == EPHEMERAL


async def test_a_folder_that_cannot_be_made_is_no_disk() -> None:
    cluster = LonghornCluster(default_data_path="/data")
    cluster.add_node("w1")
    await cluster.settle()
    assert cluster.find("nodes", "w1")["spec"]["disks"] == {}


async def test_a_node_without_power_or_cordoned_takes_no_replicas() -> None:
    cluster = LonghornCluster()
    cluster.add_node("w1")
    cluster.add_node("w2")
    await cluster.settle()
    cluster.cut_power("w1")
    cluster.api.objects["/api/v1/nodes/w2"]["spec"]["unschedulable"] = True
    await cluster.settle()
    status = cluster.find("nodes", "w1")["status"]
    ready = find_condition(status, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "KubernetesNodeNotReady")
    _, disk = cluster.disk("w1")
    assert find_condition(disk, "Schedulable")["reason"] == "NodeNotReady"
    cordoned = find_condition(cluster.find("nodes", "w2")["status"], "Schedulable")
    assert (cordoned["status"], cordoned["reason"]) == ("False", "KubernetesNodeCordoned")


async def test_a_disk_that_was_replaced_is_not_taken_for_the_former_one() -> None:
    cluster = LonghornCluster()
    cluster.add_node("w1")
    cluster.add_node("w2")
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    cluster.replace_data_disk("w2")
    await cluster.settle()
    _, disk = cluster.disk("w2")
    assert find_condition(disk, "Ready")["reason"] == "DiskFilesystemChanged"
    assert cluster.placed("certs") == ["w1"]


async def test_a_node_that_kubernetes_forgot_goes_once_nothing_is_on_it() -> None:
    cluster = LonghornCluster()
    cluster.add_node("w1")
    cluster.add_node("w2")
    await cluster.settle()
    cluster.cut_power("w2")
    for path in ("/api/v1/nodes/w2", "/api/v1/namespaces/longhorn-system/pods/longhorn-manager-w2"):
        del cluster.api.objects[path]
    await cluster.settle()
    ready = find_condition(cluster.find("nodes", "w2")["status"], "Ready")
    assert ready["reason"] == "KubernetesNodeGone"
    cluster.find("nodes", "w2")["spec"]["allowScheduling"] = False
    await cluster.settle()
    assert cluster.names("nodes") == ["w1"]


async def test_nothing_happens_while_no_manager_runs() -> None:
    cluster = LonghornCluster()
    cluster.add_node("w1")
    pod = cluster.api.objects["/api/v1/namespaces/longhorn-system/pods/longhorn-manager-w1"]
    pod["status"]["phase"] = "Pending"
    await cluster.settle()
    assert cluster.names("nodes") == []


@pytest.mark.parametrize(
    ("size", "required", "expected"),
    [
        (7, 0, ""),
        (8, 0, "ProvisionedLimit"),
        (1, 7, "MinimalAvailable"),
    ],
)
def test_a_disk_that_is_too_full_is_refused(size: int, required: int, expected: str) -> None:
    disk = Disk(
        node="w1",
        zone="",
        uuid="u",
        path="/",
        maximum=10 * GIB,
        available=9 * GIB,
        reserved=GIB,
        scheduled=2 * GIB,
    )
    refusal = disk.refusal(size * GIB, required * GIB, Settings())
    assert (expected in refusal) and bool(refusal) == bool(expected)
