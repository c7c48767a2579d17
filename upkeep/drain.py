"""Emptying a node: cordoned, and its pods asked to go, with their disruption budgets in mind."""

from __future__ import annotations

from components.cluster_api import ApiError, ClusterApi, Object
from upkeep.wait import NotYet, wait_for

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

    Raises ``UpkeepError`` after ``limit`` seconds, with the pods that are still there and why.
    """

    def look() -> None:
        held = []
        for pod in api.items(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"):
            if _must_go(pod):
                held.append(_evict(api, pod))
        if held:
            raise NotYet("; ".join(held[:3]) + (" ..." if len(held) > 3 else ""))

    wait_for(look, limit, f"{node} could not be drained")


def _must_go(pod: Object) -> bool:
    """Whether a pod keeps its node from being drained, as `kubectl drain` sees it.

    Longhorn's own pods stay: its volumes are looked after by themselves (``volumes.py``), and the
    budget of an instance manager would hold the node for ever (longhorn#5910).
    """
    metadata = pod["metadata"]
    owners = {owner["kind"] for owner in metadata.get("ownerReferences", ())}
    mirror = "kubernetes.io/config.mirror" in metadata.get("annotations", {})
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not (ended or mirror or "DaemonSet" in owners or metadata["namespace"] == _LONGHORN)


def _evict(api: ClusterApi, pod: Object) -> str:
    """Ask one pod to leave; what holds it, as half a sentence."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return f"{namespace}/{name} is still ending"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
    }
    try:
        api.post(f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", eviction)
    except ApiError as error:
        if error.code == 429:
            return f"{namespace}/{name} may not leave ({error})"
        if error.code != 404:
            raise
    return f"{namespace}/{name} is still ending"
