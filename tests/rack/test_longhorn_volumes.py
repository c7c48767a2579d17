"""Longhorn's volumes and replicas: their number, their zones, and what becomes of them."""

from __future__ import annotations

import pytest

from tests.e2e.rack.kubernetes.longhorn.objects import ALL
from tests.e2e.rack.kubernetes.longhorn.volumes import bytes_of

from .longhorn_cluster import GIB, LonghornCluster


def workers(*zones: str, **settings: str) -> LonghornCluster:
    """A cluster with a worker in each zone: w1, w2 …"""
    cluster = LonghornCluster(**settings)
    for number, zone in enumerate(zones, start=1):
        cluster.add_node(f"w{number}", zone=zone)
    return cluster


async def test_a_volume_says_what_it_is_and_who_uses_it() -> None:
    cluster = workers("a", "b")
    cluster.add_volume("certs", replicas=2)
    await cluster.settle()
    status = cluster.volume("certs")
    assert (status["state"], status["robustness"]) == ("detached", "unknown")
    cluster.use("certs", "w2")
    await cluster.settle()
    spec, status = cluster.find("volumes", "certs")["spec"], cluster.volume("certs")
    assert (spec["size"], spec["numberOfReplicas"]) == (str(2 * GIB), 2)
    assert (status["state"], status["robustness"]) == ("attached", "healthy")
    assert (status["currentNodeID"], status["currentImage"]) == ("w2", spec["image"])
    assert status["kubernetesStatus"] == {
        "namespace": "default",
        "pvName": "certs",
        "pvStatus": "Bound",
        "pvcName": "certs",
    }
    assert cluster.disk("w1")[1]["storageScheduled"] == 2 * GIB
    cluster.release()
    await cluster.settle()
    assert cluster.volume("certs")["state"] == "detached"


async def test_the_class_counts_when_a_volume_is_made_and_then_its_own_number() -> None:
    cluster = workers("a", "b", "c", replica_auto_balance="least-effort")
    cluster.add_volume("certs", replicas=1)
    cluster.use("certs", "w1")
    await cluster.settle()
    cluster.set_class(3)
    await cluster.settle()
    assert len(cluster.placed("certs")) == 1
    cluster.hand.rebuilds = False
    cluster.set_number("certs", 3)
    await cluster.settle()
    assert len(cluster.placed("certs")) == 1 and len(cluster.placed("certs", healthy=False)) == 2
    assert cluster.volume("certs")["robustness"] == "degraded"
    cluster.hand.rebuilds = True
    await cluster.settle()
    assert cluster.placed("certs") == ["w1", "w2", "w3"]
    assert cluster.volume("certs")["robustness"] == "healthy"
    cluster.set_number("certs", 2)
    await cluster.settle()
    assert len(cluster.placed("certs", healthy=False)) == 2


@pytest.mark.parametrize(("setting", "left"), [("disabled", 2), ("best-effort", 1)])
async def test_surplus_replicas_go_only_while_replicas_are_balanced(
    setting: str, left: int
) -> None:
    cluster = workers("a", "b", replica_auto_balance=setting)
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    cluster.set_number("certs", 1)
    await cluster.settle()
    assert len(cluster.placed("certs")) == left


async def test_a_detached_volume_keeps_its_replicas_and_gets_no_others() -> None:
    cluster = workers("a", "b", "c", replica_auto_balance="least-effort")
    cluster.add_volume("certs", replicas=2)
    await cluster.settle()
    placed = cluster.placed("certs")
    cluster.set_number("certs", 3)
    machine = cluster.cut_power(placed[0])
    await cluster.settle()
    assert cluster.placed("certs") == placed
    assert cluster.hand.diary == []
    cluster.use("certs", placed[1])
    await cluster.settle()
    assert placed[0] not in cluster.placed("certs")
    assert len(cluster.placed("certs")) == 2
    cluster.restore_power(placed[0], machine)
    await cluster.settle()
    assert cluster.placed("certs") == ["w1", "w2", "w3"]


async def test_a_replica_fails_with_its_node_and_waits_for_it() -> None:
    cluster = workers("a", "b", "c")
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    assert cluster.placed("certs") == ["w1", "w2"]
    machine = cluster.cut_power("w2")
    await cluster.settle()
    assert cluster.placed("certs") == ["w1"]
    assert cluster.volume("certs")["robustness"] == "degraded"
    assert cluster.placed("certs", healthy=False) == ["w1", "w2"]
    other = cluster.cut_power("w1")
    await cluster.settle()
    assert cluster.volume("certs")["robustness"] == "faulted"
    assert ("lost", "certs") in [(what, whose) for _, what, whose in cluster.hand.diary]
    cluster.restore_power("w1", other)
    cluster.restore_power("w2", machine)
    await cluster.settle()
    assert cluster.placed("certs") == ["w1", "w2"]
    assert cluster.volume("certs")["robustness"] == "healthy"


async def test_a_volume_on_a_node_without_power_is_unknown() -> None:
    cluster = workers("a", "b", "c")
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w3")
    await cluster.settle()
    cluster.cut_power("w3")
    await cluster.settle()
    assert (cluster.volume("certs")["state"], cluster.volume("certs")["robustness"]) == (
        "attached",
        "unknown",
    )
    cluster.use("certs", "w1", pod="replacement")
    await cluster.settle()
    assert cluster.volume("certs")["currentNodeID"] == "w3"
    cluster.release()
    await cluster.settle()
    assert cluster.volume("certs")["currentNodeID"] == "w1"


async def test_a_node_that_is_to_be_emptied_is() -> None:
    cluster = workers("a", "b", "c")
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    spec = cluster.find("nodes", "w2")["spec"]
    spec |= {"allowScheduling": False, "evictionRequested": True}
    cluster.hand.rebuilds = False
    await cluster.settle()
    assert cluster.placed("certs") == ["w1", "w2"]
    cluster.hand.rebuilds = True
    await cluster.settle()
    assert cluster.placed("certs", healthy=False) == ["w1", "w3"]


async def test_a_blank_disk_gets_a_replica_once_longhorn_forgot_the_former_one() -> None:
    cluster = workers("a", "b")
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    cluster.replace_data_disk("w2")
    await cluster.settle()
    assert cluster.placed("certs") == ["w1"]
    await cluster.api.delete(f"{ALL}/nodes/w2")
    await cluster.settle()
    assert cluster.placed("certs", healthy=False) == ["w1", "w2"]
    assert cluster.volume("certs")["robustness"] == "healthy"


async def test_replicas_are_in_different_zones_if_there_are_some() -> None:
    cluster = workers("a", "a", "b")
    cluster.add_volume("certs", replicas=2)
    await cluster.settle()
    assert cluster.placed("certs") == ["w1", "w3"]


@pytest.mark.parametrize(("soft", "expected"), [("true", ["w1", "w2"]), ("false", ["w1"])])
async def test_two_replicas_in_one_zone_are_a_setting(soft: str, expected: list[str]) -> None:
    cluster = workers("a", "a", replica_zone_soft_anti_affinity=soft)
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    assert cluster.placed("certs") == expected
    (scheduled,) = cluster.volume("certs")["conditions"]
    assert scheduled["status"] == ("True" if soft == "true" else "False")


@pytest.mark.parametrize("setting", ["disabled", "least-effort", "best-effort"])
async def test_a_replica_moves_to_a_zone_without_one_if_it_may(setting: str) -> None:
    cluster = workers("a", "a", replica_auto_balance=setting)
    cluster.add_volume("certs", replicas=2)
    cluster.use("certs", "w1")
    await cluster.settle()
    cluster.add_node("w3", zone="b")
    await cluster.settle()
    placed = cluster.placed("certs", healthy=False)
    assert len(placed) == 2 and ("w3" in placed) == (setting != "disabled")
    await cluster.settle()
    assert cluster.placed("certs") == placed


async def test_a_volume_that_is_too_large_is_not_placed() -> None:
    cluster = LonghornCluster(storage_reserved_percentage_for_default_disk="30")
    cluster.add_node("w1")
    cluster.add_volume("small", replicas=1, gib=20)
    cluster.add_volume("large", replicas=1, gib=20)
    await cluster.settle()
    assert sorted([*cluster.placed("small"), *cluster.placed("large")]) == ["w1"]


async def test_a_retained_volume_outlives_its_claim() -> None:
    cluster = workers("a")
    cluster.add_volume("kept", replicas=1, policy="Retain")
    cluster.add_volume("gone", replicas=1)
    await cluster.settle()
    for name in ("kept", "gone"):
        cluster.api.objects[f"/api/v1/persistentvolumes/{name}"]["status"]["phase"] = "Released"
    await cluster.settle()
    assert cluster.names("volumes") == ["kept"]
    assert cluster.volume("kept")["kubernetesStatus"]["pvStatus"] == "Released"
    assert cluster.placed("kept") == ["w1"] and cluster.placed("gone", healthy=False) == []


@pytest.mark.parametrize(
    ("text", "expected"), [("128Mi", 128 * 1024**2), ("1.5Gi", 3 * GIB // 2), ("5G", 5 * 10**9)]
)
def test_quantities(text: str, expected: int) -> None:
    assert bytes_of(text) == expected
