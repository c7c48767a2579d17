"""Objects of Longhorn v1.12.1 as the Kubernetes API returns them, for two storage nodes."""

from __future__ import annotations

from typing import Any

from clients.kubernetes.longhorn import DRIVER, PATH

GIB = 1024**3
ENGINE = "longhornio/longhorn-engine:v1.12.1"
CAPACITY = 43 * GIB - 66 * 1024**2
"""Bytes of the filesystem on a data disk of 43 GiB."""


class LonghornObjects:
    """A fake Kubernetes API with Longhorn's objects; ``lists`` has them by path of their list."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.add("settings", "default-engine-image", value=ENGINE)

    def add(self, kind: str, name: str, *, created: str = "", **content: Any) -> dict[str, Any]:
        """Add a Longhorn object to the list of its kind."""
        return self._add(f"{PATH}/{kind}", name, created, content)

    def add_node(self, name: str, zone: str, size: int = CAPACITY, free: int = 40 * GIB) -> None:
        """Add a node with a disk that Longhorn can use; ``size`` and ``free`` are bytes."""
        conditions = [{"type": it, "status": "True"} for it in ("Ready", "Schedulable")]
        disk = {
            "storageMaximum": size,
            "storageAvailable": free,
            "storageScheduled": 2 * GIB,
            "conditions": conditions,
        }
        self.add(
            "nodes",
            name,
            spec={"disks": {"disk-1": {"path": "/var/mnt/longhorn/", "storageReserved": 0}}},
            status={"zone": zone, "diskStatus": {"disk-1": disk}},
        )

    def add_volume(self, name: str, claim: str, nodes: tuple[str, ...]) -> dict[str, Any]:
        """Add an attached volume of 1 GiB with a healthy copy on each of these nodes."""
        namespace, _, pvc = claim.partition("/")
        status = {"pvName": name, "pvStatus": "Bound", "namespace": namespace, "pvcName": pvc}
        for node in nodes:
            spec = {"volumeName": name, "nodeID": node, "healthyAt": "2026-11-01T00:00:00Z"}
            self.add("replicas", f"{name}-{node}", spec=spec)
        csi = {"storageClassName": "longhorn", "csi": {"driver": DRIVER}}
        self._add("/api/v1/persistentvolumes", name, "", {"spec": csi})
        return self.add(
            "volumes",
            name,
            created="2026-11-01T00:00:00Z",
            spec={"size": str(GIB), "numberOfReplicas": len(nodes), "image": ENGINE},
            status={
                "state": "attached",
                "robustness": "healthy",
                "currentImage": ENGINE,
                "kubernetesStatus": status,
            },
        )

    def get(self, path: str) -> dict[str, Any] | None:
        """Return an object by its path; ``None`` if it does not exist."""
        list_path, _, name = path.rpartition("/")
        matches = [it for it in self.lists.get(list_path, []) if it["metadata"]["name"] == name]
        return matches[0] if matches else None

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return the objects of a list."""
        return self.lists.get(path, [])

    def _add(self, path: str, name: str, created: str, content: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name, "creationTimestamp": created or None}
        added = {"metadata": metadata, **content}
        self.lists.setdefault(path, []).append(added)
        return added


def healthy_cluster() -> LonghornObjects:
    """Two nodes on two hosts, a volume with a copy on each, and an available backup target."""
    cluster = LonghornObjects()
    cluster.add_node("castle-worker-1", "pve1")
    cluster.add_node("castle-worker-2", "pve2")
    nodes = ("castle-worker-1", "castle-worker-2")
    volume = cluster.add_volume("pvc-1", "traefik/traefik-certificates", nodes)
    volume["status"]["lastBackupAt"] = "2026-11-27T03:00:00Z"
    cluster.add(
        "backuptargets",
        "default",
        spec={"backupTargetURL": "nfs://192.168.1.5:/backups"},
        status={"available": True, "conditions": []},
    )
    cluster.add(
        "backupvolumes",
        "pvc-1-abc",
        spec={"volumeName": "pvc-1"},
        status={"lastBackupAt": "2026-11-27T03:00:00Z", "dataStored": str(GIB)},
    )
    return cluster
