"""Protects Longhorn volumes: no operation takes down the last healthy replica of a volume.

If Longhorn is not installed, all waits end at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from clients.kubernetes.api import ClusterApi, Object
from clients.kubernetes.patient_api import delete_with_retries
from clients.wait import NotYet, wait_for

_LONGHORN = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system"


def wait_for_other_replicas(api: ClusterApi, node: str, timeout_s: float) -> None:
    """Wait until every attached volume has a healthy replica on another node.

    Two kinds of volume are not checked. A volume with one replica is always down together with its
    node. A detached volume is not rebuilt, and loses nothing while its node reboots. Raises
    ``OperationError`` after ``timeout_s`` seconds.
    """

    def check() -> None:
        volumes = [
            it
            for it in _volumes_only_healthy_on(api, node)
            if _replica_count(it) > 1 and _is_attached(it)
        ]
        if volumes:
            names = ", ".join(_name(volume) for volume in volumes)
            raise NotYet(f"{node} has the only healthy replica of {names}")

    wait_for(check, timeout_s, f"Longhorn did not rebuild replicas outside of {node}")


def evict_replicas(api: ClusterApi, node: str, timeout_s: float, *, is_ready: bool) -> None:
    """Let Longhorn move all replicas off a node, and wait until the node has none.

    If the node is not ready, Longhorn cannot move its replicas. Then this waits only until every
    volume has a healthy replica on another node. Raises ``OperationError`` after ``timeout_s``
    seconds.
    """
    if not set_scheduling(api, node, allowed=False):
        return

    def check() -> None:
        if is_ready:
            left = {replica["spec"]["volumeName"] for replica in _replicas(api, node)}
        else:
            left = {volume["metadata"]["name"] for volume in _volumes_only_healthy_on(api, node)}
        if left:
            names = [
                _name(v) for v in api.items(f"{_LONGHORN}/volumes") if v["metadata"]["name"] in left
            ]
            raise NotYet(
                f"{', '.join(names or left)} still needs this node. If too few other nodes have a "
                "data disk with free space, set a lower number of replicas for the volume in "
                "Longhorn"
            )

    wait_for(check, timeout_s, f"Longhorn did not move all replicas off {node}")


def set_scheduling(api: ClusterApi, node: str, *, allowed: bool) -> bool:
    """Allow new replicas on a node, or forbid them and evict the existing ones.

    Returns ``False`` if Longhorn does not have the node.
    """
    change = {"spec": {"allowScheduling": allowed, "evictionRequested": not allowed}}
    path = f"{_LONGHORN}/nodes/{node}"
    if api.get(path) is None:
        return False
    api.merge(path, change)
    return True


def remove_longhorn_node(api: ClusterApi, node: str, timeout_s: float) -> None:
    """Delete the Longhorn node object after the Kubernetes node was deleted.

    Longhorn's webhook refuses that at first, so this tries for at most ``timeout_s`` seconds.
    """
    failure = f"Longhorn did not delete its node {node}"
    delete_with_retries(api, f"{_LONGHORN}/nodes/{node}", timeout_s, failure)


def delete_replicas(api: ClusterApi, node: str) -> None:
    """Delete the replica objects of a node whose data disk is gone."""
    for replica in _replicas(api, node):
        api.delete(f"{_LONGHORN}/replicas/{replica['metadata']['name']}")


def _volumes_only_healthy_on(api: ClusterApi, node: str) -> Iterator[Object]:
    """The volumes whose healthy replicas are all on one node."""
    healthy: dict[str, set[str]] = {}
    for replica in _replicas(api):
        spec = replica["spec"]
        if spec.get("healthyAt") and not spec.get("failedAt"):
            healthy.setdefault(spec["volumeName"], set()).add(spec["nodeID"])
    for volume in api.items(f"{_LONGHORN}/volumes"):
        if healthy.get(volume["metadata"]["name"]) == {node}:
            yield volume


def _replicas(api: ClusterApi, node: str | None = None) -> list[Object]:
    replicas = api.items(f"{_LONGHORN}/replicas")
    return [r for r in replicas if node is None or r["spec"].get("nodeID") == node]


def _is_attached(volume: Object) -> bool:
    return bool(volume.get("status", {}).get("state") != "detached")


def _replica_count(volume: Object) -> int:
    return int(volume["spec"].get("numberOfReplicas", 1))


def _name(volume: Object) -> str:
    """The name for messages: namespace and name of the claim, or the name of the volume."""
    claim = volume.get("status", {}).get("kubernetesStatus", {})
    if claim.get("pvcName"):
        return f"{claim.get('namespace')}/{claim['pvcName']}"
    return str(volume["metadata"]["name"])
