"""When a pod with a volume may start."""

from __future__ import annotations

from typing import Any

from tests.e2e.rack.kubernetes.containers import ANNOTATION, DONE, is_startable

CLAIMS = {("default", "data")}


def pod(node: str, *, begun: bool = False, phase: str = "Running", gone: bool = False) -> Any:
    """A pod that uses the claim."""
    metadata: dict[str, Any] = {"namespace": "default", "annotations": {}}
    if begun:
        metadata["annotations"][ANNOTATION] = DONE
    if gone:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    spec = {"nodeName": node, "volumes": [volume]}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def test_a_pod_waits_while_one_of_another_node_has_its_volume() -> None:
    waiting = pod("w2")
    assert is_startable(waiting, [waiting], CLAIMS)
    assert not is_startable(waiting, [waiting, pod("w1", begun=True)], CLAIMS)
    assert not is_startable(waiting, [waiting, pod("w1", begun=True, gone=True)], CLAIMS)
    assert is_startable(waiting, [waiting, pod("w1", begun=True, phase="Failed")], CLAIMS)
    assert is_startable(waiting, [waiting, pod("w2", begun=True)], CLAIMS)
    assert is_startable(waiting, [waiting, pod("w1")], CLAIMS)
    assert is_startable(waiting, [waiting, pod("w1", begun=True)], set())


def test_a_pod_that_has_started_or_ends_does_not_start() -> None:
    for other in (pod("w1", begun=True), pod("w1", gone=True)):
        assert not is_startable(other, [other], CLAIMS)
