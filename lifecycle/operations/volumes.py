"""Longhorn's volumes: none loses its last healthy replica to us.

Where there is no Longhorn there are no volumes, and nothing is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator

from clients.kubernetes.api import ClusterApi, Object
from clients.kubernetes.patient_api import delete_in_time
from clients.wait import NotYet, wait_for

_ALL = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system"


def wait_until_spare(api: ClusterApi, node: str, limit: float) -> None:
    """Wait until every volume that is in use has a healthy replica outside of a node.

    A volume that wants one replica alone is away while its node is: it was made so. One that is
    not in use is not rebuilt, and loses nothing while its node boots. Raises ``OperationError``
    after ``limit`` seconds.
    """

    def look() -> None:
        volumes = [v for v in _last_healthy_on(api, node) if _copies(v) > 1 and _is_in_use(v)]
        bound = [_name(volume) for volume in volumes]
        if bound:
            raise NotYet(f"{node} has the only healthy replica of {', '.join(bound)}")

    wait_for(look, limit, f"Longhorn's volumes were not safe without {node}")


def empty(api: ClusterApi, node: str, limit: float, *, is_alive: bool) -> None:
    """Let Longhorn move all replicas off a node, and wait until it has.

    From a node that is dead nothing can be moved: there it is enough that every volume has a
    healthy replica elsewhere. Raises ``OperationError`` after ``limit`` seconds.
    """
    if not set_scheduling(api, node, allowed=False):
        return

    def look() -> None:
        if is_alive:
            left = {replica["spec"]["volumeName"] for replica in _replicas(api, node)}
        else:
            left = {volume["metadata"]["name"] for volume in _last_healthy_on(api, node)}
        if left:
            names = [
                _name(v) for v in api.items(f"{_ALL}/volumes") if v["metadata"]["name"] in left
            ]
            raise NotYet(
                f"{', '.join(names or left)} still needs it. Where too few other nodes with a data "
                "disk are left, lower the volume's number of replicas in Longhorn"
            )

    wait_for(look, limit, f"Longhorn did not move its replicas off {node}")


def set_scheduling(api: ClusterApi, node: str, *, allowed: bool) -> bool:
    """Let Longhorn use a node, or empty it; False where Longhorn does not know the node."""
    change = {"spec": {"allowScheduling": allowed, "evictionRequested": not allowed}}
    path = f"{_ALL}/nodes/{node}"
    if api.get(path) is None:
        return False
    api.merge(path, change)
    return True


def forget(api: ClusterApi, node: str, limit: float) -> None:
    """Take a node that Kubernetes no longer has out of Longhorn; its webhook may want a moment."""
    delete_in_time(api, f"{_ALL}/nodes/{node}", limit, f"Longhorn did not forget {node}")


def forget_replicas(api: ClusterApi, node: str) -> None:
    """Take all replicas off a node whose data disk is gone: nothing of them is left."""
    for replica in _replicas(api, node):
        api.delete(f"{_ALL}/replicas/{replica['metadata']['name']}")


def _last_healthy_on(api: ClusterApi, node: str) -> Iterator[Object]:
    """The volumes whose healthy replicas are all on one node."""
    healthy: dict[str, set[str]] = {}
    for replica in _replicas(api):
        spec = replica["spec"]
        if spec.get("healthyAt") and not spec.get("failedAt"):
            healthy.setdefault(spec["volumeName"], set()).add(spec["nodeID"])
    for volume in api.items(f"{_ALL}/volumes"):
        if healthy.get(volume["metadata"]["name"]) == {node}:
            yield volume


def _replicas(api: ClusterApi, node: str | None = None) -> list[Object]:
    replicas = api.items(f"{_ALL}/replicas")
    return [r for r in replicas if node is None or r["spec"].get("nodeID") == node]


def _is_in_use(volume: Object) -> bool:
    return bool(volume.get("status", {}).get("state") != "detached")


def _copies(volume: Object) -> int:
    return int(volume["spec"].get("numberOfReplicas", 1))


def _name(volume: Object) -> str:
    """The name that a person knows a volume by: its claim's."""
    claim = volume.get("status", {}).get("kubernetesStatus", {})
    if claim.get("pvcName"):
        return f"{claim.get('namespace')}/{claim['pvcName']}"
    return str(volume["metadata"]["name"])
