"""Protects Longhorn volumes: no operation takes down the last healthy replica of a volume.

If Longhorn is not installed, all waits end at once.
"""

from __future__ import annotations

from clients.kubernetes.api import ClusterApi, Object, delete_with_retries
from clients.kubernetes.longhorn import PATH, Volume, read_volumes
from clients.wait import NotYet, wait_for


def wait_for_other_replicas(api: ClusterApi, node: str, timeout_s: float) -> None:
    """Wait until every attached volume has a healthy replica on another node.

    Two kinds of volume are not checked. A volume with one replica is always down together with its
    node. A detached volume is not rebuilt, and loses nothing while its node reboots. Raises
    ``OperationError`` after ``timeout_s`` seconds.
    """

    def check() -> None:
        volumes = [it for it in _only_healthy_on(api, node) if it.copies > 1 and not it.is_detached]
        if volumes:
            names = ", ".join(volume.title for volume in volumes)
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
            left = {volume.name for volume in _only_healthy_on(api, node)}
        if left:
            names = [volume.title for volume in read_volumes(api) if volume.name in left]
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
    path = f"{PATH}/nodes/{node}"
    if api.get(path) is None:
        return False
    api.merge(path, change)
    return True


def remove_longhorn_node(api: ClusterApi, node: str, timeout_s: float) -> None:
    """Delete the Longhorn node object after the Kubernetes node was deleted.

    Longhorn's webhook refuses that at first, so this tries for at most ``timeout_s`` seconds.
    """
    failure = f"Longhorn did not delete its node {node}"
    delete_with_retries(api, f"{PATH}/nodes/{node}", timeout_s, failure)


def delete_replicas(api: ClusterApi, node: str) -> None:
    """Delete the replica objects of a node whose data disk is gone."""
    for replica in _replicas(api, node):
        api.delete(f"{PATH}/replicas/{replica['metadata']['name']}")


def _only_healthy_on(api: ClusterApi, node: str) -> list[Volume]:
    """The volumes whose healthy replicas are all on one node."""
    return [volume for volume in read_volumes(api) if set(volume.healthy_nodes) == {node}]


def _replicas(api: ClusterApi, node: str) -> list[Object]:
    return [it for it in api.items(f"{PATH}/replicas") if it["spec"].get("nodeID") == node]
