"""Longhorn volumes: when a node may go down, and when all replicas have left it."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import OperationError
from lifecycle.operations.volumes import evict_replicas, wait_for_other_replicas
from tests.lifecycle.operations.fake_cluster import LONGHORN, FakeCluster, volume


def test_a_node_may_go_down_if_its_volumes_have_a_healthy_copy_elsewhere() -> None:
    wait_for_other_replicas(
        FakeCluster(volume("certificates", 2, "worker-1", "worker-2")), "worker-1", 0
    )


def test_a_node_with_the_last_healthy_copy_may_not_go_down() -> None:
    api = FakeCluster(volume("certificates", 2, "worker-1", failed=("worker-2",)))
    with pytest.raises(OperationError, match="healthy replica of traefik/certificates-claim"):
        wait_for_other_replicas(api, "worker-1", 0)
    wait_for_other_replicas(api, "worker-2", 0)


def test_a_volume_with_one_copy_does_not_block_its_node() -> None:
    wait_for_other_replicas(FakeCluster(volume("cache", 1, "worker-1")), "worker-1", 0)


def test_a_detached_volume_does_not_block_its_node() -> None:
    objects = volume("certificates", 2, "worker-1", failed=("worker-2",))
    objects[f"{LONGHORN}/volumes/certificates"]["status"]["state"] = "detached"
    wait_for_other_replicas(FakeCluster(objects), "worker-1", 0)


def test_without_longhorn_there_is_no_wait() -> None:
    wait_for_other_replicas(FakeCluster({}), "worker-1", 0)
    evict_replicas(FakeCluster({}), "worker-1", 0, is_ready=True)


def longhorn_node(name: str) -> dict[str, Any]:
    spec = {"allowScheduling": True, "evictionRequested": False}
    return {f"{LONGHORN}/nodes/{name}": {"metadata": {"name": name}, "spec": spec}}


def test_replicas_are_evicted_and_awaited() -> None:
    api = FakeCluster(volume("certificates", 2, "worker-1", "worker-2") | longhorn_node("worker-1"))
    with pytest.raises(OperationError, match="traefik/certificates-claim still needs this node"):
        evict_replicas(api, "worker-1", 0, is_ready=True)
    assert api.objects[f"{LONGHORN}/nodes/worker-1"]["spec"] == {
        "allowScheduling": False,
        "evictionRequested": True,
    }
    api.delete(f"{LONGHORN}/replicas/certificates-worker-1")
    evict_replicas(api, "worker-1", 0, is_ready=True)


def test_a_node_that_is_not_ready_may_leave_if_its_volumes_are_healthy_elsewhere() -> None:
    healthy = volume("certificates", 2, "worker-2", failed=("worker-1",))
    evict_replicas(FakeCluster(healthy | longhorn_node("worker-1")), "worker-1", 0, is_ready=False)
    lost = volume("certificates", 2, "worker-1")
    with pytest.raises(OperationError, match="still needs this node"):
        evict_replicas(FakeCluster(lost | longhorn_node("worker-1")), "worker-1", 0, is_ready=False)
