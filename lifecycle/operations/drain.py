"""Emptying a node: cordoned, and its pods asked to go, with their disruption budgets in mind."""

from __future__ import annotations

from clients.errors import OperationError
from clients.kubernetes.api import ApiError, ClusterApi, Object
from clients.wait import NotYet, wait_for

MARK = "ephemeral-castle/cordoned"
"""Annotation of a node that we have cordoned: only such a node is uncordoned again."""
_LONGHORN = "longhorn-system"


def cordon(api: ClusterApi, node: str) -> None:
    """Let no new pod onto a node. One that somebody else has cordoned stays theirs."""
    path = f"/api/v1/nodes/{node}"
    found = api.get(path)
    if found and not found["spec"].get("unschedulable"):
        mark = {"metadata": {"annotations": {MARK: "yes"}}, "spec": {"unschedulable": True}}
        api.merge(path, mark)


def uncordon(api: ClusterApi, node: str) -> None:
    """Let pods onto a node again, if it was us who kept them away."""
    path = f"/api/v1/nodes/{node}"
    found = api.get(path)
    if found and MARK in found["metadata"].get("annotations", {}):
        mark = {"metadata": {"annotations": {MARK: None}}, "spec": {"unschedulable": None}}
        api.merge(path, mark)


def drain(api: ClusterApi, node: str, limit: float) -> None:
    """Ask every pod that can be elsewhere to leave a cordoned node, and wait until they have.

    Raises ``OperationError`` after ``limit`` seconds, with the pods that are left and why; and
    before the first eviction, if no controller would create one of the pods again.
    """

    def pods() -> list[Object]:
        found = api.items(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
        return [pod for pod in found if _must_go(pod)]

    def look() -> None:
        held = [_evict(api, pod) for pod in pods()]
        if held:
            raise NotYet("; ".join(held[:3]) + (" ..." if len(held) > 3 else ""))

    if alone := [_name(pod) for pod in pods() if _is_alone(pod)]:
        raise OperationError(
            f"{node} could not be drained: nothing would make {', '.join(alone)} again. Delete "
            "what is of no use any more, and let a controller (a Deployment, a Job) make the rest."
        )
    wait_for(look, limit, f"{node} could not be drained")


def _must_go(pod: Object) -> bool:
    """Whether a pod keeps its node from being drained, as `kubectl drain` sees it.

    Longhorn's own pods stay: its volumes are looked after by themselves (``volumes.py``), and the
    budget of an instance manager would hold the node for ever (longhorn#5910).
    """
    metadata = pod["metadata"]
    owners = {stack_tag["kind"] for stack_tag in metadata.get("ownerReferences", ())}
    mirror = "kubernetes.io/config.mirror" in metadata.get("annotations", {})
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not (ended or mirror or "DaemonSet" in owners or metadata["namespace"] == _LONGHORN)


def _is_alone(pod: Object) -> bool:
    """Whether a pod has no controller, as `kubectl drain` without ``--force`` sees it."""
    metadata = pod["metadata"]
    owners = metadata.get("ownerReferences", ())
    return "deletionTimestamp" not in metadata and not any(it.get("controller") for it in owners)


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _evict(api: ClusterApi, pod: Object) -> str:
    """Ask one pod to leave; what holds it, as half a sentence."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return f"{_name(pod)} is still ending"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
    }
    try:
        api.post(f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", eviction)
    except ApiError as error:
        if error.code == 429:
            return f"{_name(pod)} may not leave ({error})"
        if error.code != 404:
            raise
    return f"{_name(pod)} is still ending"
