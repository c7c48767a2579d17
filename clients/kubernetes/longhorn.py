"""What Longhorn says of its disks, volumes and backups, read from its own objects.

Fields as Longhorn v1.12.1 writes them (longhorn-manager k8s/pkg/apis/longhorn/v1beta2). This module
reads and changes; ``lifecycle/operations/storage_health.py`` says what is wrong with what it read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

NAMESPACE = "longhorn-system"
PATH = f"/apis/longhorn.io/v1beta2/namespaces/{NAMESPACE}"
"""Where the Kubernetes API has Longhorn's objects."""
STORAGE_CLASS = "longhorn"
"""Longhorn's manager makes it after the release is deployed, and makes it again on each change."""
DATA_PATH = "/var/mnt/longhorn"
"""Where Talos mounts the user volume ``longhorn`` on the host, and so Longhorn's data path.

Pods see paths of the host: the kubelet's own binds (``machine.kubelet.extraMounts``) are not among
them (docs/storage.md)."""
DRIVER = "driver.longhorn.io"
"""Name of the CSI driver, in persistent volumes."""

Object = dict[str, Any]


class KubernetesReader(Protocol):
    """What is needed of a client of the Kubernetes API."""

    def get(self, path: str) -> Object | None:
        """An object, or None if there is none."""

    def items(self, path: str) -> list[Object]:
        """The objects of a list; none if their kind does not exist."""


class KubernetesWriter(KubernetesReader, Protocol):
    """What is needed to change a volume."""

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object, if it exists."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk of Longhorn on one node. Sizes are bytes."""

    node: str
    """Name of the Kubernetes node."""
    zone: str
    """The Proxmox host; empty if Longhorn knows none."""
    path: str
    """Path on the host, as in ``/var/mnt/longhorn``."""
    size: int
    """Capacity of the filesystem that the path really lies on; 0 if not known yet."""
    available: int
    """Free space on that filesystem."""
    scheduled: int
    """Sum of the nominal sizes of the replicas on it."""
    reserved: int
    """What Longhorn never allocates."""
    is_ready: bool
    """Whether Longhorn can use it."""
    is_schedulable: bool
    """Whether it takes new replicas."""
    reason: str
    """Longhorn's own message if it is not ready or not schedulable; empty otherwise."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A Longhorn volume."""

    name: str
    """Longhorn's own name: ``pvc-…``."""
    claim: str
    """Namespace and name of its claim, ``traefik/traefik-certificates``; empty if it had none."""
    is_released: bool
    """Whether the claim was deleted, and perhaps the persistent volume: nothing uses the volume,
    and its data is kept."""
    storage_class: str
    """Storage class of its persistent volume; empty if it has none."""
    size: int
    """Nominal size in bytes."""
    copies: int
    """How many copies are wanted."""
    healthy_nodes: tuple[str, ...]
    """Nodes that hold a healthy copy."""
    zones: tuple[str, ...]
    """Proxmox hosts that hold a healthy copy, each once."""
    is_attached: bool
    robustness: str
    """``healthy``, ``degraded``, ``faulted``; ``unknown`` for a detached volume."""
    engine_image: str
    """Image of the engine that it runs with."""
    last_backup: datetime | None
    """When it was last backed up; None if never."""
    created: datetime | None = None
    """When Longhorn created it; None if not known."""

    @property
    def title(self) -> str:
        """The name that a person knows it by: its claim's, or its own."""
        return self.claim or self.name


@dataclass(frozen=True, kw_only=True)
class BackupTarget:
    """Where Longhorn's backups go."""

    url: str
    """``nfs://…`` or ``s3://…``; empty if there is none."""
    is_available: bool
    """Whether Longhorn can mount and read it."""
    reason: str
    """Longhorn's own message if it cannot; empty otherwise."""


@dataclass(frozen=True, kw_only=True)
class BackupVolume:
    """The backups of one volume on the target, of this cluster or of any other."""

    volume: str
    """Longhorn's name of the volume."""
    last_backup: datetime | None
    stored: int
    """Bytes on the target."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """All that Longhorn says at one moment."""

    disks: Sequence[Disk] = ()
    volumes: Sequence[Volume] = ()
    target: BackupTarget | None = None
    """None if Longhorn has no backup target object yet."""
    backups: Sequence[BackupVolume] = ()
    engine_image: str = ""
    """The engine image of this Longhorn, which all volumes should run with."""
    version: str = ""
    """The version that runs, ``v1.12.1``; empty if Longhorn has not said it yet."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Zone of each node that Longhorn knows, by name."""


def read_storage(api: KubernetesReader) -> Storage | None:
    """Read all of it; None if Longhorn is not installed."""
    setting = api.get(f"{PATH}/settings/default-engine-image")
    nodes = api.items(f"{PATH}/nodes")
    if setting is None and not nodes:
        return None
    zones = {
        str(node["metadata"]["name"]): str(node.get("status", {}).get("zone") or "")
        for node in nodes
    }
    version = api.get(f"{PATH}/settings/current-longhorn-version") or {}
    return Storage(
        disks=[disk for node in nodes for disk in _disks(node)],
        volumes=_volumes(api, zones),
        target=_target(api.get(f"{PATH}/backuptargets/default")),
        backups=[_backup_volume(it) for it in api.items(f"{PATH}/backupvolumes")],
        engine_image=str((setting or {}).get("value") or ""),
        version=str(version.get("value") or ""),
        nodes=zones,
    )


def read_disks(api: KubernetesReader) -> list[Disk]:
    """The disks of all nodes; none if Longhorn is not installed."""
    return [disk for node in api.items(f"{PATH}/nodes") for disk in _disks(node)]


def read_volumes(api: KubernetesReader) -> list[Volume]:
    """All volumes; none if Longhorn is not installed."""
    zones = {
        str(node["metadata"]["name"]): str(node.get("status", {}).get("zone") or "")
        for node in api.items(f"{PATH}/nodes")
    }
    return _volumes(api, zones)


def set_copies(api: KubernetesWriter, volume: Volume, copies: int) -> None:
    """Set how many copies of a volume Longhorn keeps; it adds or removes them by itself."""
    api.merge(f"{PATH}/volumes/{volume.name}", {"spec": {"numberOfReplicas": copies}})


def _disks(node: Object) -> list[Disk]:
    status = node.get("status") or {}
    states = status.get("diskStatus") or {}
    found = []
    for name, spec in (node.get("spec", {}).get("disks") or {}).items():
        state = states.get(name) or {}
        conditions = {it["type"]: it for it in state.get("conditions") or ()}
        wrong = [it for it in conditions.values() if it.get("status") != "True"]
        found.append(
            Disk(
                node=str(node["metadata"]["name"]),
                zone=str(status.get("zone") or ""),
                path=str(spec.get("path") or "").rstrip("/"),
                size=int(state.get("storageMaximum") or 0),
                available=int(state.get("storageAvailable") or 0),
                scheduled=int(state.get("storageScheduled") or 0),
                reserved=int(spec.get("storageReserved") or 0),
                is_ready=conditions.get("Ready", {}).get("status") == "True",
                is_schedulable=conditions.get("Schedulable", {}).get("status") == "True",
                reason="; ".join(str(it.get("message") or it.get("reason") or "") for it in wrong),
            )
        )
    return found


def _volumes(api: KubernetesReader, zones: Mapping[str, str]) -> list[Volume]:
    healthy: dict[str, list[str]] = {}
    for replica in api.items(f"{PATH}/replicas"):
        spec = replica["spec"]
        if spec.get("healthyAt") and not spec.get("failedAt"):
            healthy.setdefault(str(spec["volumeName"]), []).append(str(spec.get("nodeID") or ""))
    classes = {
        str(it["metadata"]["name"]): str(it["spec"].get("storageClassName") or "")
        for it in api.items("/api/v1/persistentvolumes")
        if it["spec"].get("csi", {}).get("driver") == DRIVER
    }
    return [
        _volume(it, sorted(healthy.get(str(it["metadata"]["name"]), [])), zones, classes)
        for it in api.items(f"{PATH}/volumes")
    ]


def _volume(
    found: Object, nodes: Sequence[str], zones: Mapping[str, str], classes: Mapping[str, str]
) -> Volume:
    name, spec, status = str(found["metadata"]["name"]), found["spec"], found.get("status") or {}
    used = status.get("kubernetesStatus") or {}
    claim = f"{used.get('namespace')}/{used['pvcName']}" if used.get("pvcName") else ""
    return Volume(
        name=name,
        claim=claim,
        # Without a persistent volume Longhorn keeps the name of its last claim, and a moment.
        is_released=used.get("pvStatus") == "Released"
        or bool(used.get("lastPVCRefAt") and not used.get("pvName")),
        storage_class=classes.get(str(used.get("pvName") or name), ""),
        size=int(spec.get("size") or 0),
        copies=int(spec.get("numberOfReplicas") or 1),
        healthy_nodes=tuple(nodes),
        zones=tuple(dict.fromkeys(zones.get(node, "") for node in nodes)),
        is_attached=status.get("state") == "attached",
        robustness=str(status.get("robustness") or "unknown"),
        engine_image=str(status.get("currentImage") or spec.get("image") or ""),
        last_backup=_moment(status.get("lastBackupAt")),
        created=_moment(found["metadata"].get("creationTimestamp")),
    )


def _target(found: Object | None) -> BackupTarget | None:
    if found is None:
        return None
    status = found.get("status") or {}
    reasons = [
        str(it.get("message") or it.get("reason") or "")
        for it in status.get("conditions") or ()
        if it.get("type") == "Unavailable" and it.get("status") == "True"
    ]
    return BackupTarget(
        url=str(found.get("spec", {}).get("backupTargetURL") or ""),
        is_available=bool(status.get("available")),
        reason="; ".join(reasons),
    )


def _backup_volume(found: Object) -> BackupVolume:
    status = found.get("status") or {}
    return BackupVolume(
        volume=str(found.get("spec", {}).get("volumeName") or found["metadata"]["name"]),
        last_backup=_moment(status.get("lastBackupAt")),
        stored=int(status.get("dataStored") or 0),
    )


def _moment(text: Any) -> datetime | None:
    """A moment as Longhorn writes it, ``2026-11-28T03:00:00Z``; None if empty or not one."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None
    except ValueError:
        return None
