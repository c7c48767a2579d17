"""Longhorn's volumes: when a node may go down, and when it is empty."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import OperationError
from lifecycle.operations.volumes import empty, wait_until_spare
from tests.lifecycle.operations.fake_cluster import LONGHORN, FakeCluster, volume


def test_a_volume_with_a_healthy_copy_elsewhere_lets_a_node_go() -> None:
    wait_until_spare(FakeCluster(volume("certificates", 2, "worker-1", "worker-2")), "worker-1", 0)


def test_the_last_healthy_copy_holds_its_node() -> None:
    api = FakeCluster(volume("certificates", 2, "worker-1", failed=("worker-2",)))
    with pytest.raises(OperationError, match="healthy replica of traefik/certificates-claim"):
        wait_until_spare(api, "worker-1", 0)
    wait_until_spare(api, "worker-2", 0)


def test_a_volume_of_one_copy_is_away_with_its_node() -> None:
    wait_until_spare(FakeCluster(volume("cache", 1, "worker-1")), "worker-1", 0)


def test_a_volume_that_is_not_in_use_loses_nothing_in_a_boot() -> None:
    objects = volume("certificates", 2, "worker-1", failed=("worker-2",))
    objects[f"{LONGHORN}/volumes/certificates"]["status"]["state"] = "detached"
    wait_until_spare(FakeCluster(objects), "worker-1", 0)


def test_without_longhorn_nothing_is_waited_for() -> None:
    wait_until_spare(FakeCluster({}), "worker-1", 0)
    empty(FakeCluster({}), "worker-1", 0, is_alive=True)


def longhorn_node(name: str) -> dict[str, Any]:
    spec = {"allowScheduling": True, "evictionRequested": False}
    return {f"{LONGHORN}/nodes/{name}": {"metadata": {"name": name}, "spec": spec}}


def test_a_node_is_emptied_and_waited_for() -> None:
    api = FakeCluster(volume("certificates", 2, "worker-1", "worker-2") | longhorn_node("worker-1"))
    with pytest.raises(OperationError, match="traefik/certificates-claim still needs it"):
        empty(api, "worker-1", 0, is_alive=True)
    assert api.objects[f"{LONGHORN}/nodes/worker-1"]["spec"] == {
        "allowScheduling": False,
        "evictionRequested": True,
    }
    api.delete(f"{LONGHORN}/replicas/certificates-worker-1")
    empty(api, "worker-1", 0, is_alive=True)


def test_from_a_dead_node_nothing_is_moved_but_nothing_is_lost() -> None:
    safe = volume("certificates", 2, "worker-2", failed=("worker-1",))
    empty(FakeCluster(safe | longhorn_node("worker-1")), "worker-1", 0, is_alive=False)
    lost = volume("certificates", 2, "worker-1")
    with pytest.raises(OperationError, match="still needs it"):
        empty(FakeCluster(lost | longhorn_node("worker-1")), "worker-1", 0, is_alive=False)
