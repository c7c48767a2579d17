"""Longhorn's nodes and disks: one node for each on which longhorn-manager runs.

A default disk is of the size of the filesystem on which its path really lies: longhorn-manager asks
in the host's mount namespace (v1.12.1 types/types.go CreateDefaultDisk,
controller/node_controller.go, controller/kubernetes_node_controller.go).
"""

from __future__ import annotations

import copy
import posixpath
import uuid
from collections.abc import Iterable, Sequence

from ...talos.machine import Machine
from ...talos.mounts import Filesystem, pod_filesystem
from ..client import KubernetesClient
from .objects import (
    ALL,
    Thing,
    condition,
    custom_object,
    difference,
    find_condition,
    holds,
)
from .scheduling import actual_size, disk_of
from .settings import Settings
from .view import View, is_ready

LABEL = "node.longhorn.io/create-default-disk"
ZONE = "topology.kubernetes.io/zone"
REGION = "topology.kubernetes.io/region"
_DEFAULT_DISK = "default-disk-"
_IMAGES = 3 * 1024**3
"""Bytes of EPHEMERAL that the images of containers take."""


async def keep(client: KubernetesClient, view: View) -> None:
    """Make the nodes that are missing, and bring the others up to date."""
    for name, kubernetes_node in view.kubernetes_nodes.items():
        if not view.runs_on(name):
            continue
        node = view.nodes.get(name)
        mounts = view.machines[name].mounts
        if node is None:
            disks = {}
            if not view.settings.create_default_disk_labeled_nodes:
                disks = default_disks(mounts, view.settings)
            await client.create(f"{ALL}/nodes", custom_object("Node", name, _spec(name, disks)))
        elif wants_default_disk(node, kubernetes_node, view.settings):
            change = {"spec": {"disks": default_disks(mounts, view.settings)}}
            await client.patch(f"{ALL}/nodes/{name}", change)
    for name, node in view.nodes.items():
        replicas = [it for it in view.replicas if it["spec"]["nodeID"] == name]
        if is_forgotten(node, replicas, view):
            await client.delete(f"{ALL}/nodes/{name}")
            continue
        change = difference(node.get("status", {}), node_status(node, replicas, view))
        if change:
            await client.patch(f"{ALL}/nodes/{name}/status", {"status": change})


def default_disks(mounts: Sequence[Filesystem], settings: Settings) -> dict[str, Thing]:
    """The default disk of a node by its name; none if its folder cannot be made."""
    path = settings.default_data_path
    filesystem = pod_filesystem(mounts, path)
    if filesystem.is_read_only:
        return {}
    percentage = settings.storage_reserved_percentage_for_default_disk
    spec = {
        "allowScheduling": True,
        "diskDriver": "",
        "diskType": "filesystem",
        "evictionRequested": False,
        "path": path,
        "storageReserved": filesystem.capacity * percentage // 100,
        "tags": [],
    }
    return {f"{_DEFAULT_DISK}{filesystem.identity[:16]}": spec}


def wants_default_disk(node: Thing, kubernetes_node: Thing, settings: Settings) -> bool:
    """Whether a label asks for a default disk, and there is no disk."""
    label = (kubernetes_node["metadata"].get("labels") or {}).get(LABEL, "")
    is_asked = settings.create_default_disk_labeled_nodes and label.lower() == "true"
    return is_asked and not node["spec"].get("disks")


def is_forgotten(node: Thing, replicas: Sequence[Thing], view: View) -> bool:
    """Whether Longhorn forgets a node: Kubernetes has, and nothing is or may be on it."""
    is_gone = node["metadata"]["name"] not in view.kubernetes_nodes
    return is_gone and not node["spec"].get("allowScheduling") and not replicas


def node_status(node: Thing, replicas: Iterable[Thing], view: View) -> Thing:
    """The status of a node and its disks."""
    name = node["metadata"]["name"]
    status: Thing = copy.deepcopy(node.get("status") or {})
    former = status.get("conditions")
    kubernetes_node = view.kubernetes_nodes.get(name)
    ready = _ready_condition(name, former, kubernetes_node, view.managers.get(name))
    schedulable = _schedulable_condition(name, former, kubernetes_node, view.settings)
    status["conditions"] = [ready, schedulable]
    if kubernetes_node is not None:
        labels = kubernetes_node["metadata"].get("labels") or {}
        status |= {"zone": labels.get(ZONE, ""), "region": labels.get(REGION, "")}
    machine = view.machines.get(name) if ready["status"] == "True" else None
    disks = status.get("diskStatus") or {}
    status["diskStatus"] = {
        disk: _disk_status(node, disk, disks.get(disk, {}), machine, replicas, view.settings)
        for disk in node["spec"].get("disks") or {}
    }
    return status


def disk_uuid(filesystem: Filesystem, path: str) -> str:
    """What the file longhorn-disk.cfg in a folder has: it goes with its filesystem."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{filesystem.identity}{posixpath.normpath(path)}"))


def _spec(name: str, disks: dict[str, Thing]) -> Thing:
    return {
        "name": name,
        "allowScheduling": True,
        "evictionRequested": False,
        "instanceManagerCPURequest": 0,
        "disks": disks,
        "tags": [],
    }


def _ready_condition(
    name: str,
    former: Sequence[Thing] | None,
    kubernetes_node: Thing | None,
    manager: Thing | None,
) -> Thing:
    """The last reason that applies wins, as in setReadyAndSchedulableConditions."""
    if kubernetes_node is None:
        message = f"Kubernetes node missing: node {name} has been removed from the cluster"
        return condition(former, "Ready", False, "KubernetesNodeGone", message)
    found = find_condition(kubernetes_node.get("status", {}), "Ready")
    if found.get("status") != "True":
        message = f"Kubernetes node {name} not ready: {found.get('reason', '')}"
        return condition(former, "Ready", False, "KubernetesNodeNotReady", message)
    if manager is None:
        message = f"Manager pod is missing: node {name} has no manager pod running on it"
        return condition(former, "Ready", False, "ManagerPodMissing", message)
    if not is_ready(manager):
        pod = manager["metadata"]["name"]
        message = f"Node {name} is down: manager pod {pod} is not running"
        return condition(former, "Ready", False, "ManagerPodDown", message)
    return condition(former, "Ready", True, message=f"Node {name} is ready")


def _schedulable_condition(
    name: str, former: Sequence[Thing] | None, kubernetes_node: Thing | None, settings: Settings
) -> Thing:
    is_cordoned = bool((kubernetes_node or {}).get("spec", {}).get("unschedulable"))
    if is_cordoned and settings.disable_scheduling_on_cordoned_node:
        message = f"Node {name} is cordoned"
        return condition(former, "Schedulable", False, "KubernetesNodeCordoned", message)
    return condition(former, "Schedulable", True)


def _disk_status(
    node: Thing,
    disk: str,
    former: Thing,
    machine: Machine | None,
    replicas: Iterable[Thing],
    settings: Settings,
) -> Thing:
    name, spec = node["metadata"]["name"], node["spec"]["disks"][disk]
    where = f"disk {disk}({spec['path']}) on node {name}"
    conditions = former.get("conditions")
    if machine is None:  # nobody is there to ask
        return (
            _empty_status(disk, spec)
            | former
            | {
                "conditions": [
                    condition(conditions, "Ready", False, "NodeNotReady", f"Waiting for {where}"),
                    condition(
                        conditions, "Schedulable", False, "NodeNotReady", f"Waiting for {where}"
                    ),
                ]
            }
        )
    filesystem = pod_filesystem(machine.mounts, spec["path"])
    found = disk_uuid(filesystem, spec["path"])
    recorded = former.get("diskUUID") or found
    if filesystem.is_read_only or recorded != found:
        message = f"{where} is not ready: record diskUUID doesn't match the one on the disk"
        return _empty_status(disk, spec) | {
            "diskUUID": recorded,
            "conditions": [
                condition(conditions, "Ready", False, "DiskFilesystemChanged", message),
                condition(conditions, "Schedulable", False, "DiskNotReady", message),
            ],
        }
    sizes = {
        replica["metadata"]["name"]: int(replica["spec"]["volumeSize"])
        for replica in replicas
        if replica["spec"]["diskID"] == found
    }
    status = _empty_status(disk, spec) | {
        "diskUUID": found,
        "filesystemType": filesystem.kind,
        "storageMaximum": filesystem.capacity,
        "storageAvailable": _available(filesystem, sizes),
        "storageScheduled": sum(sizes.values()),
        "scheduledReplica": sizes,
    }
    trial = {"status": {"diskStatus": {disk: status}}}
    refusal = disk_of({**node, **trial}, disk).refusal(0, 0, settings)
    reason, tail = ("DiskPressure", f"is not schedulable for more replica; {refusal}")
    status["conditions"] = [
        condition(conditions, "Ready", True, message=f"{where} is ready"),
        condition(conditions, "Schedulable", False, reason, f"{where} {tail}")
        if refusal
        else condition(conditions, "Schedulable", True, message=f"{where} is schedulable"),
    ]
    return status


def _available(filesystem: Filesystem, sizes: dict[str, int]) -> int:
    used = sum(actual_size(size) for size in sizes.values())
    images = _IMAGES if filesystem.mount_point == "/var" else 0
    return max(0, filesystem.capacity - used - images)


def _empty_status(disk: str, spec: Thing) -> Thing:
    return {
        "diskDriver": "",
        "diskName": disk,
        "diskPath": spec["path"],
        "diskType": spec.get("diskType", "filesystem"),
        "diskUUID": "",
        "filesystemType": "",
        "scheduledReplica": {},
        "storageAvailable": 0,
        "storageMaximum": 0,
        "storageScheduled": 0,
    }


def is_down(view: View, name: str) -> bool:
    """Whether Longhorn takes a node for down or deleted (IsNodeDownOrDeleted)."""
    node = view.nodes.get(name)
    if node is None:
        return True
    status = node.get("status", {})
    reason = find_condition(status, "Ready").get("reason")
    return not holds(status, "Ready") and reason in {"KubernetesNodeGone", "KubernetesNodeNotReady"}
