"""Cordon and drain: which pods are evicted, which block a drain, and which nodes are uncordoned."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import OperationError
from clients.kubernetes.api import KubernetesError
from lifecycle.operations.drain import CORDONED_BY_US, cordon, drain, uncordon
from tests.lifecycle.operations.fake_cluster import FakeCluster, node, pod

EVICTION = "/api/v1/namespaces/whoami/pods/whoami-1/eviction"


def test_pods_with_a_controller_are_evicted_except_daemons_and_longhorn() -> None:
    daemon, manager = pod("cni", controller="DaemonSet"), pod("manager", "longhorn-system")
    api = FakeCluster(pod("whoami-1") | daemon | manager)
    with pytest.raises(OperationError, match="is still terminating"):
        drain(api, "worker-1", timeout_s=0)
    assert api.posted == [EVICTION]
    assert api.bodies[EVICTION] == {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": "whoami", "name": "whoami-1"},
    }
    drain(api, "worker-1", timeout_s=0)


def test_the_error_names_a_pod_with_a_disruption_budget() -> None:
    api = FakeCluster(pod("whoami-1"))
    api.refusals[EVICTION] = KubernetesError(
        "POST /", "https://vip:6443", "it would violate a disruption budget", 429
    )
    with pytest.raises(OperationError) as raised:
        drain(api, "worker-1", timeout_s=0)
    assert str(raised.value) == (
        "worker-1 could not be drained within 0 s: whoami/whoami-1 cannot be evicted (it would "
        "violate a disruption budget)."
    )


def bare(name: str, namespace: str = "whoami", **changed: Any) -> dict[str, Any]:
    """A pod without a controller."""
    found = pod(name, namespace)
    (made,) = found.values()
    made["metadata"]["ownerReferences"] = [{"kind": "Task", "controller": False}]
    made["metadata"] |= changed
    return found


def test_a_drain_refuses_pods_without_a_controller_before_any_eviction() -> None:
    api = FakeCluster(pod("whoami-1") | bare("debug") | bare("shell"))
    with pytest.raises(
        OperationError, match="no controller would recreate whoami/debug, whoami/shell"
    ):
        drain(api, "worker-1", timeout_s=0)
    assert api.posted == []


def test_a_drain_accepts_mirror_pods_and_pods_that_ended_or_terminate() -> None:
    mirror = bare("kube-apiserver", annotations={"kubernetes.io/config.mirror": "x"})
    ended, going = bare("ended"), bare("going", deletionTimestamp="2026-11-21T10:00:00Z")
    ended["/api/v1/pods/ended"]["status"]["phase"] = "Succeeded"
    api = FakeCluster(mirror | ended | bare("restore", "longhorn-system"))
    drain(api, "worker-1", timeout_s=0)
    with pytest.raises(OperationError, match="whoami/going is still terminating"):
        drain(FakeCluster(going), "worker-1", timeout_s=0)


def test_a_node_that_the_program_cordoned_is_uncordoned() -> None:
    api = FakeCluster(node("worker-1"))
    cordon(api, "worker-1")
    found = api.objects["/api/v1/nodes/worker-1"]
    assert found["spec"]["unschedulable"] and CORDONED_BY_US in found["metadata"]["annotations"]
    uncordon(api, "worker-1")
    assert found["spec"] == {} and found["metadata"]["annotations"] == {}


def test_a_node_that_a_person_cordoned_stays_cordoned() -> None:
    api = FakeCluster(node("worker-1"))
    api.objects["/api/v1/nodes/worker-1"]["spec"]["unschedulable"] = True
    cordon(api, "worker-1")
    uncordon(api, "worker-1")
    assert api.objects["/api/v1/nodes/worker-1"]["spec"] == {"unschedulable": True}
