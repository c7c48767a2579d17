"""Longhorn's volumes and their replicas.

A volume is attached to the node of a pod that uses it. The number of its replicas is taken from its
class when it is made, and is its own after that. A replica of an attached volume fails with its
node, and is rebuilt when the node is back; it leaves a node that is to be emptied once there is
another one (v1.12.1 controller/volume_controller.go).

Unlike the real one, a failed replica waits for its node as long as that node exists, not for ten
minutes; and a new volume's first replicas are healthy before it was ever attached.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from ..client import KubernetesClient
from . import scheduling
from .objects import (
    ALL,
    Thing,
    condition,
    custom_object,
    difference,
    find_condition,
    holds,
    now,
)
from .scheduling import Disk, actual_size
from .view import View

_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
DEFAULT_GROUP = "recurring-job-group.longhorn.io/default"
"""The label of the volumes that have no recurring job of their own."""
ATTACHED, DETACHED = "attached", "detached"
_UNITS = {
    suffix: base**power
    for base, end in ((1024, "i"), (1000, ""))
    for power, letter in enumerate("KMGTP", start=1)
    for suffix in ([f"{letter}{end}"] if end or letter != "K" else ["k"])
}


async def keep(client: KubernetesClient, view: View, engine_image: str) -> None:
    """Bring volumes and replicas one step on; new volumes get an engine image."""
    for name, persistent_volume in view.persistent_volumes.items():
        if name not in view.volumes:
            volume = await _new_volume(client, persistent_volume, engine_image)
            await client.create(f"{ALL}/volumes", volume)
    replicas: dict[str, list[Thing]] = {name: [] for name in view.volumes}
    for replica in view.replicas:
        if replica["spec"]["volumeName"] in replicas:
            replicas[replica["spec"]["volumeName"]].append(replica)
        else:
            await client.delete(f"{ALL}/replicas/{replica['metadata']['name']}")
    disks = scheduling.open_disks(view.nodes.values())
    for disk in disks:  # what their status says may be a step old
        found = [it["spec"] for it in view.replicas if it["spec"]["diskID"] == disk.uuid]
        disk.scheduled = sum(int(spec["volumeSize"]) for spec in found)
    for name, volume in view.volumes.items():
        await VolumeStep(client, view, volume, replicas[name], disks).take()


async def _new_volume(
    client: KubernetesClient, persistent_volume: Thing, engine_image: str
) -> Thing:
    spec = persistent_volume["spec"]
    storage_class = await client.get(f"{_CLASSES}/{spec.get('storageClassName')}") or {}
    parameters = storage_class.get("parameters") or {}
    volume = {
        "dataEngine": "v1",
        "image": engine_image,
        "numberOfReplicas": int(parameters.get("numberOfReplicas", 3)),
        "size": str(bytes_of(spec["capacity"]["storage"])),
    }
    name = persistent_volume["metadata"]["name"]
    return custom_object("Volume", name, volume, {DEFAULT_GROUP: "enabled"})


def bytes_of(quantity: str) -> int:
    """The bytes of a quantity of Kubernetes'."""
    suffix = quantity.lstrip("0123456789.")
    return int(Decimal(quantity.removesuffix(suffix)) * _UNITS.get(suffix, 1))


class VolumeStep:
    """One step of one volume."""

    def __init__(
        self,
        client: KubernetesClient,
        view: View,
        volume: Thing,
        replicas: Sequence[Thing],
        disks: list[Disk],
    ) -> None:
        """``disks`` are those that take replicas; what is scheduled here is added to them."""
        self._client = client
        self._view = view
        self._volume = volume
        self._replicas = list(replicas)
        self._disks = disks
        self._name = volume["metadata"]["name"]
        self._size = int(volume["spec"]["size"])
        self._number = int(volume["spec"]["numberOfReplicas"])
        self._node = attached_node(volume, view.nodes_using(self._name))
        self._scheduling_error = ""

    async def take(self) -> None:
        """Follow the nodes, remove and add replicas, and report."""
        for replica in self._replicas:
            await self._follow_node(replica)
        if self._node and self._replicas and not self._healthy:
            self._view.hand.note("lost", self._name)
        await self._clean_up()
        await self._replenish()
        await self._report()

    @property
    def _healthy(self) -> list[Thing]:
        return [replica for replica in self._replicas if is_healthy(replica)]

    @property
    def _usable(self) -> list[Thing]:
        """Those that count, whether they are rebuilt yet or not."""
        return [
            replica
            for replica in self._replicas
            if not replica["spec"].get("failedAt") and not replica["spec"].get("evictionRequested")
        ]

    @property
    def _waiting(self) -> list[Thing]:
        """The failed ones that are taken up again when their nodes are back."""
        return [
            replica
            for replica in self._replicas
            if replica["spec"].get("failedAt")
            and not replica["spec"].get("evictionRequested")
            and not self._is_lost(replica)
        ]

    @property
    def _is_opened(self) -> bool:
        """Whether replicas can be rebuilt: an eviction attaches a volume for that."""
        is_evicting = any(it["spec"].get("evictionRequested") for it in self._replicas)
        return bool(self._node) or is_evicting

    async def _follow_node(self, replica: Thing) -> None:
        """Let a replica fail with its node, and be rebuilt when the node is back."""
        spec = replica["spec"]
        is_alive = spec["nodeID"] in self._view.machines and self._has_data(replica)
        change: Thing = {}
        if _is_to_be_evicted(replica, self._view.nodes) != bool(spec.get("evictionRequested")):
            change["evictionRequested"] = not spec.get("evictionRequested")
        if not is_alive and self._node and not spec.get("failedAt"):
            change["failedAt"] = now()
        elif is_alive and spec.get("failedAt") and self._is_reusable(replica):
            if self._healthy and self._is_opened:
                change |= {"failedAt": "", "healthyAt": ""}
            elif not self._healthy and spec.get("healthyAt"):
                change["failedAt"] = ""  # salvaged: no other one has all data
        elif is_alive and self._is_rebuilt(replica):
            change["healthyAt"] = now()
        await self._change(replica, change)

    def _is_reusable(self, replica: Thing) -> bool:
        """Whether a failed replica can be taken up again: its node is back, and its disk is."""
        spec = replica["spec"]
        node = self._view.nodes.get(spec["nodeID"])
        if node is None:
            return False
        if spec.get("evictionRequested") or not scheduling.takes_replicas(node):
            return False
        disks = (node["status"].get("diskStatus") or {}).values()
        return any(disk["diskUUID"] == spec["diskID"] and holds(disk, "Ready") for disk in disks)

    def _has_data(self, replica: Thing) -> bool:
        """Whether the disk of a replica is still the one that it was written to."""
        spec = replica["spec"]
        node = self._view.nodes.get(spec["nodeID"])
        if node is None:
            return False
        disks = (node.get("status", {}).get("diskStatus") or {}).values()
        found = [disk for disk in disks if disk["diskUUID"] == spec["diskID"]]
        if not found:
            return not disks
        return find_condition(found[0], "Ready").get("reason") != "DiskFilesystemChanged"

    def _is_rebuilt(self, replica: Thing) -> bool:
        if not (is_rebuilding(replica) and self._view.hand.rebuilds and self._is_opened):
            return False
        return any(it["spec"]["nodeID"] in self._view.machines for it in self._healthy)

    async def _clean_up(self) -> None:
        """Remove one replica that is not needed: evicted, or one too many.

        Those that are one too many stay while replica-auto-balance is disabled
        (cleanupAutoBalancedReplicas).
        """
        healthy = self._healthy
        staying = [it for it in healthy if not it["spec"].get("evictionRequested")]
        leaving = [it for it in self._replicas if it["spec"].get("evictionRequested")]
        gone = [it for it in self._replicas if self._is_lost(it)]
        if len(staying) >= self._number and (leaving or gone):
            for replica in {it["metadata"]["name"]: it for it in leaving + gone}.values():
                await self._remove(replica)
        elif len(healthy) > self._number and self._node and self._view.settings.balances_replicas:
            disks = [
                status
                for node in self._view.nodes.values()
                for status in (node.get("status", {}).get("diskStatus") or {}).values()
            ]
            available = {disk["diskUUID"]: disk["storageAvailable"] for disk in disks}
            await self._remove(scheduling.choose_surplus(healthy, self._view.nodes, available))

    def _is_lost(self, replica: Thing) -> bool:
        """Whether a failed replica will never be of use: its node or its disk is gone."""
        return bool(replica["spec"].get("failedAt")) and not self._has_data(replica)

    async def _replenish(self) -> None:
        """Add the replicas that are missing: all to a new volume, else one at a time."""
        is_new = not self._replicas
        if any(map(is_rebuilding, self._replicas)):
            return
        missing = self._number - len(self._usable)
        if missing == 0:
            missing = self._missing_zones()
        else:
            missing -= len(self._waiting)
        for _ in range(missing if is_new else min(1, missing)):
            disk = self._choose_disk()
            if disk is None:
                self._scheduling_error = "insufficient storage or nodes are unavailable"
                return
            if is_new or self._is_opened:
                await self._add(disk, is_healthy=is_new)

    def _missing_zones(self) -> int:
        """How many replicas another zone needs: of a healthy, attached volume only."""
        is_healthy = len(self._healthy) >= self._number and bool(self._node)
        if not (is_healthy and self._view.settings.balances_replicas):
            return 0
        return scheduling.missing_zones(
            self._disks,
            self._zones(self._healthy),
            number=self._number,
            size=self._size,
            required=actual_size(self._size),
            settings=self._view.settings,
        )

    def _choose_disk(self) -> Disk | None:
        counted = [it for it in self._replicas if not self._is_lost(it)]
        return scheduling.choose_disk(
            self._disks,
            {replica["spec"]["nodeID"] for replica in counted},
            self._zones(counted),
            size=self._size,
            required=actual_size(self._size),
            settings=self._view.settings,
        )

    def _zones(self, replicas: Iterable[Thing]) -> set[str]:
        nodes = self._view.nodes
        return {
            scheduling.zone_of(nodes[replica["spec"]["nodeID"]])
            for replica in replicas
            if replica["spec"]["nodeID"] in nodes
        }

    async def _add(self, disk: Disk, *, is_healthy: bool) -> None:
        spec = {
            "active": True,
            "diskID": disk.uuid,
            "diskPath": disk.path,
            "evictionRequested": False,
            "failedAt": "",
            "healthyAt": now() if is_healthy else "",
            "image": self._volume["spec"].get("image", ""),
            "nodeID": disk.node,
            "volumeName": self._name,
            "volumeSize": str(self._size),
        }
        replica = custom_object("Replica", f"{self._name}-r-{uuid.uuid4().hex[:8]}", spec)
        await self._client.create(f"{ALL}/replicas", replica)
        self._replicas.append(replica)
        disk.scheduled += self._size

    async def _change(self, replica: Thing, change: Thing) -> None:
        if change:
            path = f"{ALL}/replicas/{replica['metadata']['name']}"
            await self._client.patch(path, {"spec": change})
            replica["spec"].update(change)

    async def _remove(self, replica: Thing) -> None:
        await self._client.delete(f"{ALL}/replicas/{replica['metadata']['name']}")
        self._replicas.remove(replica)

    async def _report(self) -> None:
        status = copy.deepcopy(self._volume.get("status") or {})
        has_engine = self._node in self._view.machines
        scheduled = condition(
            status.get("conditions"),
            "Scheduled",
            not self._scheduling_error,
            "ReplicaSchedulingFailure" if self._scheduling_error else "",
            self._scheduling_error,
        )
        status |= {
            "actualSize": actual_size(self._size),
            "conditions": [scheduled],
            "currentNodeID": self._node,
            "kubernetesStatus": self._kubernetes_status(),
            "robustness": robustness(
                self._replicas, self._number, is_attached=bool(self._node), has_engine=has_engine
            ),
            "state": ATTACHED if self._node else DETACHED,
        }
        status.setdefault("currentImage", self._volume["spec"].get("image", ""))
        status.setdefault("lastBackup", "")
        status.setdefault("lastBackupAt", "")
        change = difference(self._volume.get("status") or {}, status)
        if change:
            await self._client.patch(f"{ALL}/volumes/{self._name}/status", {"status": change})

    def _kubernetes_status(self) -> Thing:
        former = (self._volume.get("status") or {}).get("kubernetesStatus") or {}
        found = self._view.persistent_volumes.get(self._name)
        if found is None:
            return {**former, "pvName": "", "pvStatus": ""}
        claim = found["spec"].get("claimRef") or {}
        return {
            "pvName": self._name,
            "pvStatus": found.get("status", {}).get("phase", ""),
            "namespace": claim.get("namespace", ""),
            "pvcName": claim.get("name", ""),
        }


def attached_node(volume: Thing, users: Sequence[str]) -> str:
    """The node that a volume is attached to, given those of the pods that use it, oldest first.

    It stays where it is while a pod there uses it, one that never ends included.
    """
    current = str((volume.get("status") or {}).get("currentNodeID", ""))
    if current in users:
        return current
    return users[0] if users else ""


def robustness(
    replicas: Sequence[Thing], number: int, *, is_attached: bool, has_engine: bool
) -> str:
    """The robustness of a volume; nothing is known of one that no engine serves."""
    healthy = sum(map(is_healthy, replicas))
    if replicas and not healthy:
        return "faulted"
    if not is_attached or not has_engine:
        return "unknown"
    return "healthy" if healthy >= number else "degraded"


def is_healthy(replica: Thing) -> bool:
    """Whether a replica has all data of its volume."""
    spec = replica["spec"]
    return bool(spec.get("healthyAt")) and not spec.get("failedAt")


def is_rebuilding(replica: Thing) -> bool:
    """Whether a replica does not have all data yet."""
    spec = replica["spec"]
    return not spec.get("healthyAt") and not spec.get("failedAt")


def _is_to_be_evicted(replica: Thing, nodes: Mapping[str, Thing]) -> bool:
    node = nodes.get(replica["spec"]["nodeID"])
    if node is None:
        return bool(replica["spec"].get("evictionRequested"))
    spec, status = node["spec"], node.get("status", {}).get("diskStatus") or {}
    return bool(spec.get("evictionRequested")) or any(
        disk.get("evictionRequested")
        and status.get(name, {}).get("diskUUID") == replica["spec"]["diskID"]
        for name, disk in (spec.get("disks") or {}).items()
    )
