"""Draining: who has to go, what holds a node, and whose cordon it is."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import OperationError
from clients.kubernetes.api import ApiError
from lifecycle.operations.drain import MARK, cordon, drain, uncordon
from tests.lifecycle.operations.fake_cluster import FakeCluster, node, pod

EVICTION = "/api/v1/namespaces/whoami/pods/whoami-1/eviction"


def test_pods_that_can_be_elsewhere_are_asked_to_go() -> None:
    daemon, manager = pod("cni", stack_tag="DaemonSet"), pod("manager", "longhorn-system")
    api = FakeCluster(pod("whoami-1") | daemon | manager)
    with pytest.raises(OperationError, match="is still ending"):
        drain(api, "worker-1", limit=0)
    assert api.posted == [EVICTION]
    drain(api, "worker-1", limit=0)


def test_a_budget_that_holds_a_pod_is_named() -> None:
    api = FakeCluster(pod("whoami-1"))
    api.refusals[EVICTION] = ApiError("it would violate the pod's disruption budget", 429)
    with pytest.raises(OperationError) as raised:
        drain(api, "worker-1", limit=0)
    assert str(raised.value) == (
        "worker-1 could not be drained within 0 s: whoami/whoami-1 may not leave (it would violate "
        "the pod's disruption budget)."
    )


def bare(name: str, namespace: str = "whoami", **changed: Any) -> dict[str, Any]:
    """A pod that no controller made."""
    found = pod(name, namespace)
    (made,) = found.values()
    made["metadata"]["ownerReferences"] = [{"kind": "Task", "controller": False}]
    made["metadata"] |= changed
    return found


def test_a_pod_that_nothing_makes_again_is_refused_before_any_has_gone() -> None:
    api = FakeCluster(pod("whoami-1") | bare("debug") | bare("shell"))
    with pytest.raises(OperationError, match="nothing would make whoami/debug, whoami/shell again"):
        drain(api, "worker-1", limit=0)
    assert api.posted == []


def test_what_has_no_controller_and_goes_by_itself_or_stays_is_no_matter() -> None:
    mirror = bare("kube-apiserver", annotations={"kubernetes.io/config.mirror": "x"})
    ended, going = bare("ended"), bare("going", deletionTimestamp="2026-11-21T10:00:00Z")
    ended["/api/v1/pods/ended"]["status"]["phase"] = "Succeeded"
    api = FakeCluster(mirror | ended | bare("restore", "longhorn-system"))
    drain(api, "worker-1", limit=0)
    with pytest.raises(OperationError, match="whoami/going is still ending"):
        drain(FakeCluster(going), "worker-1", limit=0)


def test_a_node_that_we_cordoned_is_uncordoned() -> None:
    api = FakeCluster(node("worker-1"))
    cordon(api, "worker-1")
    found = api.objects["/api/v1/nodes/worker-1"]
    assert found["spec"]["unschedulable"] and MARK in found["metadata"]["annotations"]
    uncordon(api, "worker-1")
    assert found["spec"] == {} and found["metadata"]["annotations"] == {}


def test_a_node_that_somebody_else_cordoned_stays_so() -> None:
    api = FakeCluster(node("worker-1"))
    api.objects["/api/v1/nodes/worker-1"]["spec"]["unschedulable"] = True
    cordon(api, "worker-1")
    uncordon(api, "worker-1")
    assert api.objects["/api/v1/nodes/worker-1"]["spec"] == {"unschedulable": True}
