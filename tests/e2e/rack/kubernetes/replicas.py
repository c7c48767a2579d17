"""A stand-in for Longhorn's manager: the replicas of each volume, on the nodes with a data disk.

A replica fails with its node, is rebuilt when the node is back, and leaves a node that is to be
emptied once there is another one. Sizes, engines and snapshots are left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..talos.hand import Hand
from ..talos.machine import Machine
from .client import KubernetesClient

_GROUP = "/apis/longhorn.io/v1beta2"
_ALL = f"{_GROUP}/namespaces/longhorn-system"
_VOLUMES = "/api/v1/persistentvolumes"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_DRIVER = "driver.longhorn.io"
_LABEL = "node.longhorn.io/create-default-disk"
_API = "longhorn.io/v1beta2"

Thing = dict[str, Any]


async def keep(client: KubernetesClient, machines: list[Machine], hand: Hand) -> None:
    """Bring nodes, volumes and replicas one step on."""
    if await client.get(f"{_ALL}/nodes") is None:
        return  # no Longhorn, or not yet
    powered = {machine.hostname for machine in machines}
    usable = await _nodes(client, powered)
    replicas: dict[str, list[Thing]] = {}
    for replica in await client.list(f"{_ALL}/replicas"):
        replicas.setdefault(replica["spec"]["volumeName"], []).append(replica)
    classes = {c["metadata"]["name"]: c for c in await client.list(_CLASSES)}
    for claimed in await client.list(_VOLUMES):
        if claimed["spec"].get("csi", {}).get("driver") == _DRIVER:
            name = claimed["metadata"]["name"]
            storage_class = classes.get(claimed["spec"]["storageClassName"], {})
            number = int(storage_class.get("parameters", {}).get("numberOfReplicas", 1))
            found = replicas.pop(name, [])
            await _volume(client, claimed, number, found, usable, hand)
    for orphans in replicas.values():
        for orphan in orphans:
            await client.delete(f"{_ALL}/replicas/{orphan['metadata']['name']}")


async def _nodes(client: KubernetesClient, powered: set[str]) -> Mapping[str, bool | None]:
    """By node: whether it takes replicas; None for one that has no power."""
    known = {node["metadata"]["name"]: node for node in await client.list(f"{_ALL}/nodes")}
    usable: dict[str, bool | None] = {}
    for node in await client.list("/api/v1/nodes"):
        name = node["metadata"]["name"]
        if _LABEL not in node["metadata"].get("labels", {}):
            continue
        if name not in known:
            spec = {"name": name, "allowScheduling": True, "evictionRequested": False}
            await client.create(f"{_ALL}/nodes", _object("Node", name, spec))
            known[name] = {"spec": spec}
        spec = known[name]["spec"]
        usable[name] = (
            (spec["allowScheduling"] and not spec.get("evictionRequested"))
            if name in powered
            else None
        )
    return usable


async def _volume(
    client: KubernetesClient,
    claimed: Thing,
    number: int,
    replicas: list[Thing],
    usable: Mapping[str, bool | None],
    hand: Hand,
) -> None:
    name = claimed["metadata"]["name"]
    for replica in replicas:
        await _follow_node(client, replica, usable, hand)
    healthy = [replica for replica in replicas if _is_healthy(replica)]
    if replicas and not healthy:
        hand.note("lost", name)
    settled = [r for r in replicas if usable.get(r["spec"]["nodeID"]) is not False]
    free = [n for n, is_usable in usable.items() if is_usable and n not in _places(replicas)]
    for node in free[: max(0, number - len(settled))]:
        await _add(client, name, node, first=not replicas)
    if sum(r in settled for r in healthy) >= number:
        for replica in replicas:
            if replica not in settled:
                await client.delete(f"{_ALL}/replicas/{replica['metadata']['name']}")
    robustness = "healthy" if len(healthy) >= number else "degraded" if healthy else "faulted"
    await _report(client, claimed, number, robustness)


async def _follow_node(
    client: KubernetesClient, replica: Thing, usable: Mapping[str, bool | None], hand: Hand
) -> None:
    spec = replica["spec"]
    has_power = usable.get(spec["nodeID"]) is not None
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    change: dict[str, str] = {}
    if not has_power and not spec.get("failedAt"):
        change = {"failedAt": now, "healthyAt": ""}
    elif has_power and spec.get("failedAt"):
        change = {"failedAt": ""}
    elif has_power and not spec.get("healthyAt") and hand.rebuilds:
        change = {"healthyAt": now}
    if change:
        await client.patch(f"{_ALL}/replicas/{replica['metadata']['name']}", {"spec": change})
        spec.update(change)


def _is_healthy(replica: Thing) -> bool:
    spec = replica["spec"]
    return bool(spec.get("healthyAt")) and not spec.get("failedAt")


def _places(replicas: list[Thing]) -> set[str]:
    return {replica["spec"]["nodeID"] for replica in replicas}


async def _add(client: KubernetesClient, volume: str, node: str, *, first: bool) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    spec = {
        "volumeName": volume,
        "nodeID": node,
        "failedAt": "",
        "healthyAt": now if first else "",
    }
    await client.create(f"{_ALL}/replicas", _object("Replica", f"{volume}-{node}", spec))


async def _report(client: KubernetesClient, claimed: Thing, number: int, robustness: str) -> None:
    name = claimed["metadata"]["name"]
    claim = claimed["spec"]["claimRef"]
    status = {
        "state": "attached",
        "robustness": robustness,
        "kubernetesStatus": {"namespace": claim["namespace"], "pvcName": claim["name"]},
    }
    volume = await client.get(f"{_ALL}/volumes/{name}")
    if volume is None:
        spec = {"numberOfReplicas": number, "size": "1"}
        await client.create(f"{_ALL}/volumes", _object("Volume", name, spec))
    if (volume or {}).get("status", {}).get("robustness") != robustness:
        await client.patch(f"{_ALL}/volumes/{name}/status", {"status": status})


def _object(kind: str, name: str, spec: Thing) -> Thing:
    return {
        "apiVersion": _API,
        "kind": kind,
        "metadata": {"name": name, "namespace": "longhorn-system"},
        "spec": spec,
    }
