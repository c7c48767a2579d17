"""Cordons, drains and uncordons a node. The drain respects pod disruption budgets."""

from __future__ import annotations

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi, KubernetesError, Object
from clients.wait import NotYet, wait_for

CORDONED_BY_US = "ephemeral-castle/cordoned"
"""Annotation of a node that this program cordoned. Only such a node is uncordoned again."""
_LONGHORN = "longhorn-system"


def cordon(api: ClusterApi, node: str) -> None:
    """Cordon and annotate a node. A node that is already cordoned is not changed."""
    path = f"/api/v1/nodes/{node}"
    found = api.get(path)
    if found and not found["spec"].get("unschedulable"):
        change = {
            "metadata": {"annotations": {CORDONED_BY_US: "yes"}},
            "spec": {"unschedulable": True},
        }
        api.merge(path, change)


def uncordon(api: ClusterApi, node: str) -> None:
    """Uncordon a node if this program cordoned it."""
    path = f"/api/v1/nodes/{node}"
    found = api.get(path)
    if found and CORDONED_BY_US in found["metadata"].get("annotations", {}):
        change = {
            "metadata": {"annotations": {CORDONED_BY_US: None}},
            "spec": {"unschedulable": None},
        }
        api.merge(path, change)


def drain(api: ClusterApi, node: str, timeout_s: float) -> None:
    """Evict the pods of a cordoned node as ``kubectl drain`` does, and wait until they are gone.

    Raises ``OperationError`` after ``timeout_s`` seconds, with the pods that are left and the
    reasons. Raises it before the first eviction if a pod has no controller that recreates it.
    """

    def pods() -> list[Object]:
        found = api.items(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
        return [pod for pod in found if _needs_eviction(pod)]

    def evict_pods() -> None:
        reasons = [_evict(api, pod) for pod in pods()]
        if reasons:
            raise NotYet("; ".join(reasons[:3]) + (" ..." if len(reasons) > 3 else ""))

    if bare := [_name(pod) for pod in pods() if _has_no_controller(pod)]:
        raise OperationError(
            f"{node} could not be drained: no controller would recreate {', '.join(bare)}. Delete "
            "pods that nobody needs, and create the others with a controller (a Deployment, a Job)."
        )
    wait_for(evict_pods, timeout_s, f"{node} could not be drained")


def _needs_eviction(pod: Object) -> bool:
    """Whether ``kubectl drain`` would evict this pod. Longhorn's own pods are never evicted.

    ``volumes.py`` protects Longhorn's volumes, and the disruption budget of an instance manager can
    block a drain forever (longhorn/longhorn#5910).
    """
    metadata = pod["metadata"]
    owners = {owner["kind"] for owner in metadata.get("ownerReferences", ())}
    mirror = "kubernetes.io/config.mirror" in metadata.get("annotations", {})
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not (ended or mirror or "DaemonSet" in owners or metadata["namespace"] == _LONGHORN)


def _has_no_controller(pod: Object) -> bool:
    """Whether ``kubectl drain`` would refuse this pod without ``--force``."""
    metadata = pod["metadata"]
    owners = metadata.get("ownerReferences", ())
    return "deletionTimestamp" not in metadata and not any(it.get("controller") for it in owners)


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _evict(api: ClusterApi, pod: Object) -> str:
    """Evict one pod; returns why it is still on the node, as the end of a sentence."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return f"{_name(pod)} is still terminating"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
    }
    try:
        api.post(f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", eviction)
    except KubernetesError as error:
        if error.status == 429:
            return f"{_name(pod)} cannot be evicted ({error.detail})"
        if error.status != 404:
            raise
    return f"{_name(pod)} is still terminating"
