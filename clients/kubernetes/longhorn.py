"""Reads disks, volumes and backups from Longhorn's objects, and sets the copies of a volume.

The fields are those of Longhorn v1.12.1 (longhorn-manager k8s/pkg/apis/longhorn/v1beta2).
``lifecycle/operations/storage_health.py`` finds problems in what this module reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

NAMESPACE = "longhorn-system"
PATH = f"/apis/longhorn.io/v1beta2/namespaces/{NAMESPACE}"
"""Path of Longhorn's objects in the Kubernetes API."""
STORAGE_CLASS = "longhorn"
"""Storage class that Longhorn's manager creates after the Helm release, and recreates on changes.
"""
DATA_PATH = "/var/mnt/longhorn"
"""Longhorn's data path: the mount point of the Talos user volume ``longhorn``.

It is a path of the host. Binds of the kubelet (``machine.kubelet.extraMounts``) do not exist there
(docs/storage.md)."""
DRIVER = "driver.longhorn.io"
"""Name of the CSI driver, in persistent volumes."""

Object = dict[str, Any]


class KubernetesReader(Protocol):
    """A client of the Kubernetes API that can read."""

    def get(self, path: str) -> Object | None:
        """Read an object; ``None`` if it does not exist."""

    def items(self, path: str) -> list[Object]:
        """Read the objects of a list; empty if the kind does not exist."""


class KubernetesWriter(KubernetesReader, Protocol):
    """A client of the Kubernetes API that can read and patch."""

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        """Patch an object (JSON merge patch) if it exists."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk of Longhorn on one node. Sizes are in bytes."""

    node: str
    """Name of the Kubernetes node."""
    zone: str
    """The Proxmox host (Longhorn's zone of the node); empty if not set."""
    path: str
    """Path on the host, as in ``/var/mnt/longhorn``."""
    size: int
    """Capacity of the filesystem that contains the path; 0 if not reported yet."""
    available: int
    """Free space on that filesystem."""
    scheduled: int
    """Sum of the nominal sizes of the replicas on it."""
    reserved: int
    """Space that Longhorn never allocates."""
    is_ready: bool
    """Whether Longhorn can use it."""
    is_schedulable: bool
    """Whether Longhorn places new replicas on it."""
    reason: str
    """Longhorn's own message if it is not ready or not schedulable; empty otherwise."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A Longhorn volume."""

    name: str
    """Longhorn's own name: ``pvc-…``."""
    claim: str
    """Namespace and name of its claim, as in ``traefik/traefik-certificates``; empty if it never
    had a claim."""
    is_released: bool
    """Whether its claim was deleted. Nothing uses the volume then, but Longhorn keeps its data."""
    storage_class: str
    """Storage class of its persistent volume; empty if it has none."""
    size: int
    """Nominal size in bytes."""
    copies: int
    """The wanted number of copies (``numberOfReplicas``)."""
    healthy_nodes: tuple[str, ...]
    """Nodes that hold a healthy copy."""
    zones: tuple[str, ...]
    """Proxmox hosts that hold a healthy copy, each once."""
    is_attached: bool
    """Whether a node uses the volume."""
    robustness: str
    """``healthy``, ``degraded``, ``faulted``, or ``unknown`` (a detached volume)."""
    engine_image: str
    """Image of the Longhorn engine that it runs."""
    last_backup: datetime | None
    """Time of the last backup; ``None`` if there is none."""
    created: datetime | None = None
    """Time at which Longhorn created it; ``None`` if not known."""
    is_detached: bool = False
    """Whether certainly no node uses the volume. Also ``False`` while it attaches or detaches."""

    @property
    def title(self) -> str:
        """The name for messages: the claim, or Longhorn's name without one."""
        return self.claim or self.name


@dataclass(frozen=True, kw_only=True)
class BackupTarget:
    """The backup target of Longhorn."""

    url: str
    """``nfs://…`` or ``s3://…``; empty if there is none."""
    is_available: bool
    """Whether Longhorn can mount and read it."""
    reason: str
    """Longhorn's own message if it cannot; empty otherwise."""


@dataclass(frozen=True, kw_only=True)
class BackupVolume:
    """The backups of one volume on the target, of this cluster or of another one."""

    volume: str
    """Longhorn's name of the volume."""
    last_backup: datetime | None
    """Time of the last backup; ``None`` if there is none."""
    stored: int
    """Size on the target in bytes."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Longhorn's disks, volumes and backups at one moment."""

    disks: Sequence[Disk] = ()
    volumes: Sequence[Volume] = ()
    target: BackupTarget | None = None
    """``None`` if Longhorn has not created its backup target object yet."""
    backups: Sequence[BackupVolume] = ()
    engine_image: str = ""
    """The engine image of the installed Longhorn, which all volumes should run."""
    version: str = ""
    """The running version, as in ``v1.12.1``; empty if not reported yet."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Zone (Proxmox host) of each Longhorn node, by name."""

    @property
    def outdated(self) -> list[Volume]:
        """The volumes that run another engine than ``engine_image``."""
        if not self.engine_image:
            return []
        return [it for it in self.volumes if it.engine_image not in ("", self.engine_image)]


def read_storage(api: KubernetesReader) -> Storage | None:
    """Read everything; ``None`` if Longhorn is not installed. Raises ``KubernetesError``."""
    setting = api.get(f"{PATH}/settings/default-engine-image")
    nodes = api.items(f"{PATH}/nodes")
    if setting is None and not nodes:
        return None
    zones = _zones(nodes)
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
    """Read the disks of all nodes; empty if Longhorn is not installed.

    Raises ``KubernetesError``.
    """
    return [disk for node in api.items(f"{PATH}/nodes") for disk in _disks(node)]


def read_volumes(api: KubernetesReader) -> list[Volume]:
    """Read all volumes; empty if Longhorn is not installed. Raises ``KubernetesError``."""
    return _volumes(api, _zones(api.items(f"{PATH}/nodes")))


def set_copies(api: KubernetesWriter, volume: Volume, copies: int) -> None:
    """Set the wanted number of copies; Longhorn adds or deletes copies.

    Raises ``KubernetesError``.
    """
    api.merge(f"{PATH}/volumes/{volume.name}", {"spec": {"numberOfReplicas": copies}})


def _zones(nodes: Sequence[Object]) -> dict[str, str]:
    """The zone of each node, by name."""
    return {
        str(node["metadata"]["name"]): str(node.get("status", {}).get("zone") or "")
        for node in nodes
    }


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
    usage = status.get("kubernetesStatus") or {}
    claim = f"{usage.get('namespace')}/{usage['pvcName']}" if usage.get("pvcName") else ""
    return Volume(
        name=name,
        claim=claim,
        # If the persistent volume was deleted too, pvName is empty and lastPVCRefAt is set.
        is_released=usage.get("pvStatus") == "Released"
        or bool(usage.get("lastPVCRefAt") and not usage.get("pvName")),
        storage_class=classes.get(str(usage.get("pvName") or name), ""),
        size=int(spec.get("size") or 0),
        copies=int(spec.get("numberOfReplicas") or 1),
        healthy_nodes=tuple(nodes),
        zones=tuple(dict.fromkeys(zones.get(node, "") for node in nodes)),
        is_attached=status.get("state") == "attached",
        is_detached=status.get("state") == "detached",
        robustness=str(status.get("robustness") or "unknown"),
        engine_image=str(status.get("currentImage") or spec.get("image") or ""),
        last_backup=_parse_time(status.get("lastBackupAt")),
        created=_parse_time(found["metadata"].get("creationTimestamp")),
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
        last_backup=_parse_time(status.get("lastBackupAt")),
        stored=int(status.get("dataStored") or 0),
    )


def _parse_time(text: Any) -> datetime | None:
    """Parse a time of Longhorn, as in ``2026-11-28T03:00:00Z``; ``None`` if empty or invalid."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None
    except ValueError:
        return None
