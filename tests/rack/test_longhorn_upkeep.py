"""Longhorn's engines and backups, and its pods on nodes that are down."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.e2e.rack.kubernetes.longhorn.engines import DEFAULT_IMAGE, engine_image, image_name
from tests.e2e.rack.kubernetes.longhorn.objects import ALL, find_condition

from .longhorn_cluster import SYSTEM, LonghornCluster

OLD, NEW = "longhornio/longhorn-engine:v1.12.1", "longhornio/longhorn-engine:v1.12.2"
URL = "s3://backups@here/"
BOTH = "delete-both-statefulset-and-deployment-pod"


@pytest.fixture
async def cluster() -> LonghornCluster:
    """Two nodes, and a volume that a pod on the first uses."""
    cluster = LonghornCluster()
    cluster.add_node("w1")
    cluster.add_node("w2")
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    return cluster


def engine(cluster: LonghornCluster) -> tuple[str, str]:
    """The engine image that a volume asks for, and the one that it runs."""
    volume = cluster.find("volumes", "certs")
    return volume["spec"]["image"], volume["status"]["currentImage"]


async def test_a_volume_keeps_its_engine_unless_upgrades_are_automatic(
    cluster: LonghornCluster,
) -> None:
    assert cluster.find("settings", DEFAULT_IMAGE)["value"] == OLD
    cluster.set_engine(NEW)
    await cluster.settle()
    assert cluster.find("settings", DEFAULT_IMAGE)["value"] == NEW
    assert engine(cluster) == (OLD, OLD)
    assert cluster.names("engineimages") == sorted([image_name(OLD), image_name(NEW)])
    assert cluster.find("engineimages", image_name(OLD))["status"]["refCount"] == 1

    cluster.hand.engine_upgrades = False
    cluster.configure(concurrent_automatic_engine_upgrade_per_node_limit="1")
    await cluster.settle()
    assert engine(cluster) == (OLD, OLD)
    cluster.hand.engine_upgrades = True
    await cluster.settle(1)
    assert engine(cluster) == (NEW, OLD)
    await cluster.settle()
    assert engine(cluster) == (NEW, NEW)
    status = cluster.find("engineimages", image_name(OLD))["status"]
    assert (status["refCount"], status["state"]) == (0, "deployed")


async def test_a_degraded_volume_is_not_upgraded(cluster: LonghornCluster) -> None:
    cluster.configure(concurrent_automatic_engine_upgrade_per_node_limit="1")
    cluster.cut_power("w2")
    await cluster.settle()
    cluster.set_engine(NEW)
    await cluster.settle()
    assert engine(cluster) == (OLD, OLD)


def test_an_image_that_no_manager_names() -> None:
    assert engine_image(None) == "stand-in/longhorn-engine:unknown"


def set_target(cluster: LonghornCluster, url: str = URL) -> None:
    """Give Longhorn a backup target, and a job that backs up every volume."""
    data = {"default-resource.yaml": yaml.safe_dump({"backup-target": url})}
    cluster.api.put(f"{SYSTEM}/configmaps/longhorn-default-resource", {"data": data})
    job = {"spec": {"task": "backup", "groups": ["default"], "cron": "0 3 * * *", "retain": 3}}
    cluster.api.put(f"{ALL}/recurringjobs/backup", job)


async def test_a_job_backs_up_when_it_is_time(cluster: LonghornCluster) -> None:
    set_target(cluster)
    await cluster.settle()
    target = cluster.find("backuptargets", "default")
    assert (target["spec"]["backupTargetURL"], target["spec"]["pollInterval"]) == (URL, "5m0s")
    assert target["status"]["available"] and target["status"]["lastSyncedAt"]
    assert cluster.volume("certs")["lastBackupAt"] == ""
    cluster.hand.due_jobs = {"backup"}
    await cluster.settle()
    assert cluster.hand.due_jobs == set()
    status = cluster.volume("certs")
    (name,) = cluster.names("backupvolumes")
    shown = cluster.find("backupvolumes", name)
    assert shown["spec"] == {"backupTargetName": "default", "volumeName": "certs"}
    assert shown["status"]["lastBackupName"] == status["lastBackup"] != ""
    assert shown["status"]["lastBackupAt"] == status["lastBackupAt"] != ""
    assert int(shown["status"]["dataStored"]) > 0


@pytest.mark.parametrize("allowed", ["true", "false"])
async def test_a_detached_volume_is_backed_up_if_that_is_allowed(
    cluster: LonghornCluster, allowed: str
) -> None:
    set_target(cluster)
    cluster.configure(allow_recurring_job_while_volume_detached=allowed)
    cluster.release()
    await cluster.settle()
    cluster.hand.due_jobs = {"backup"}
    await cluster.settle()
    assert bool(cluster.volume("certs")["lastBackupAt"]) == (allowed == "true")


async def test_a_volume_with_a_job_of_its_own_is_not_in_the_default_group(
    cluster: LonghornCluster,
) -> None:
    set_target(cluster)
    labels = {"recurring-job.longhorn.io/other": "enabled"}
    cluster.find("volumes", "certs")["metadata"]["labels"] = labels
    await cluster.settle()
    cluster.hand.due_jobs = {"backup"}
    await cluster.settle()
    assert cluster.volume("certs")["lastBackupAt"] == ""


async def test_a_target_that_cannot_be_reached_says_so(cluster: LonghornCluster) -> None:
    set_target(cluster)
    cluster.hand.backup_target_error = "AccessDenied: no such key"
    cluster.hand.due_jobs = {"backup"}
    await cluster.settle()
    status = cluster.find("backuptargets", "default")["status"]
    found = find_condition(status, "Unavailable")
    assert not status["available"] and (found["status"], found["reason"]) == ("True", "Unavailable")
    assert "AccessDenied" in found["message"]
    assert cluster.names("backupvolumes") == []
    assert ("not backed up", "certs") in [(what, whose) for _, what, whose in cluster.hand.diary]
    cluster.hand.backup_target_error = ""
    await cluster.settle()
    assert cluster.find("backuptargets", "default")["status"]["available"]


async def test_a_target_has_what_other_clusters_put_there(cluster: LonghornCluster) -> None:
    set_target(cluster)
    cluster.hand.foreign_backup_volumes = {"pvc-of-another"}
    cluster.hand.due_jobs = {"backup"}
    await cluster.settle()
    shown = [cluster.find("backupvolumes", name) for name in cluster.names("backupvolumes")]
    assert {it["spec"]["volumeName"] for it in shown} == {"certs", "pvc-of-another"}
    assert all(it["status"]["lastBackupAt"] for it in shown)
    after = LonghornCluster()
    after.hand.backup_store = cluster.hand.backup_store
    after.add_node("w1")
    set_target(after)
    await after.settle()
    (name,) = after.names("backupvolumes")
    assert after.find("backupvolumes", name)["spec"]["volumeName"] == "certs"


async def test_without_a_target_there_are_no_backups(cluster: LonghornCluster) -> None:
    set_target(cluster)
    cluster.hand.due_jobs = {"backup"}
    await cluster.settle()
    set_target(cluster, "")
    await cluster.settle()
    found = find_condition(cluster.find("backuptargets", "default")["status"], "Unavailable")
    assert found["message"] == "backup target URL is empty"
    assert cluster.names("backupvolumes") == []


def terminating(pod: dict[str, Any], when: str = "2020-01-01T00:00:00Z") -> None:
    """Let a pod be one that is being deleted."""
    pod["metadata"]["deletionTimestamp"] = when


@pytest.mark.parametrize(
    ("policy", "owner", "expected"),
    [
        ("do-nothing", "ReplicaSet", False),
        ("delete-statefulset-pod", "ReplicaSet", False),
        ("delete-deployment-pod", "ReplicaSet", True),
        (BOTH, "ReplicaSet", True),
        (BOTH, "StatefulSet", True),
        (BOTH, "DaemonSet", False),
    ],
)
async def test_pods_on_a_node_that_is_down(
    cluster: LonghornCluster, policy: str, owner: str, expected: bool
) -> None:
    cluster.configure(node_down_pod_deletion_policy=policy)
    terminating(cluster.use("certs", "w1", owner=owner))
    cluster.cut_power("w1")
    await cluster.settle()
    gone = ("/api/v1/namespaces/default/pods/user", 0) in cluster.api.deletions
    assert gone is expected


async def test_a_pod_is_given_its_time_and_one_on_a_living_node_is_left_alone(
    cluster: LonghornCluster,
) -> None:
    cluster.configure(node_down_pod_deletion_policy=BOTH)
    pod = cluster.use("certs", "w1")
    terminating(pod)
    await cluster.settle()
    assert cluster.api.deletions == []
    terminating(pod, "2999-01-01T00:00:00Z")
    cluster.cut_power("w1")
    await cluster.settle()
    assert cluster.api.deletions == []


async def test_attachments_go_before_their_pod(cluster: LonghornCluster) -> None:
    cluster.configure(node_down_pod_deletion_policy=BOTH)
    terminating(cluster.use("certs", "w1"))
    spec = {
        "attacher": "driver.longhorn.io",
        "nodeName": "w1",
        "source": {"persistentVolumeName": "certs"},
    }
    attachments = "/apis/storage.k8s.io/v1/volumeattachments"
    cluster.api.put(f"{attachments}/csi-1", {"spec": spec})
    cluster.api.put(f"{attachments}/csi-2", {"spec": spec | {"nodeName": "w2"}})
    cluster.cut_power("w1")
    await cluster.settle()
    assert [path for path, _ in cluster.api.deletions] == [
        f"{attachments}/csi-1",
        "/api/v1/namespaces/default/pods/user",
    ]
