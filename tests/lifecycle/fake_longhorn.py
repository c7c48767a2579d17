"""A fake Kubernetes API with Longhorn's objects, and a clock that only waits advance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clients.kubernetes.api import ClusterApi, KubernetesError
from clients.kubernetes.longhorn import DATA_PATH, PATH

GIB = 1024**3
ENGINE = "longhornio/longhorn-engine:v1.12.1"
OLD_ENGINE = "longhornio/longhorn-engine:v1.11.2"


class FakeLonghorn(ClusterApi):
    """Holds objects by path. ``on_wait`` are changes that happen during the pauses of a wait."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.merged: list[tuple[str, Any]] = []
        self.on_wait: list[Callable[[], None]] = []
        """One function per pause, in order."""
        self.error: KubernetesError | None = None
        """If set, every request raises it."""
        self.now = 0.0
        self._setting("default-engine-image", ENGINE)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeLonghorn:
        """Replace the client of every kubeconfig and the clock."""
        monkeypatch.setattr(ClusterApi, "of", lambda _: self)
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.sleep", self._sleep)
        return self

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.on_wait:
            self.on_wait.pop(0)()

    def get(self, path: str) -> Any:
        if self.error:
            raise self.error
        return self.objects.get(path)

    def items(self, path: str) -> Any:
        if self.error:
            raise self.error
        return [it for key, it in self.objects.items() if key.rpartition("/")[0] == path]

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        self.merged.append((path, change))
        self.objects[path]["spec"] |= change["spec"]

    def _setting(self, name: str, value: str) -> None:
        self.objects[f"{PATH}/settings/{name}"] = {"value": value}

    def set_version(self, version: str) -> None:
        """Set the version of the running Longhorn."""
        self._setting("current-longhorn-version", version)

    def add_disk(
        self, node: str, gib: float = 43, *, path: str = DATA_PATH, is_ready: bool = True
    ) -> None:
        """Add a node with one disk of this capacity."""
        status = "True" if is_ready else "False"
        self.objects[f"{PATH}/nodes/{node}"] = {
            "metadata": {"name": node},
            "spec": {"disks": {"disk": {"path": path}}},
            "status": {
                "diskStatus": {
                    "disk": {
                        "storageMaximum": int(gib * GIB),
                        "conditions": [{"type": "Ready", "status": status, "message": "no disk"}],
                    }
                }
            },
        }

    def add_volume(
        self,
        claim: str,
        copies: int,
        *nodes: str,
        state: str = "attached",
        engine: str = ENGINE,
        storage_class: str = "longhorn",
        pv_status: str = "Bound",
        gib: int = 1,
    ) -> None:
        """Add a volume with healthy copies on these nodes."""
        namespace, _, name = claim.partition("/")
        volume = f"pvc-{name}"
        self.objects[f"{PATH}/volumes/{volume}"] = {
            "metadata": {"name": volume},
            "spec": {"numberOfReplicas": copies, "size": str(gib * GIB)},
            "status": {
                "state": state,
                "currentImage": engine,
                "kubernetesStatus": {
                    "namespace": namespace,
                    "pvcName": name,
                    "pvName": volume,
                    "pvStatus": pv_status,
                },
            },
        }
        self.objects[f"/api/v1/persistentvolumes/{volume}"] = {
            "metadata": {"name": volume},
            "spec": {"storageClassName": storage_class, "csi": {"driver": "driver.longhorn.io"}},
        }
        for node in nodes:
            self.add_replica(claim, node)

    def add_replica(self, claim: str, node: str) -> None:
        """Add a healthy copy on a node."""
        volume = f"pvc-{claim.partition('/')[2]}"
        self.objects[f"{PATH}/replicas/{volume}-{node}"] = {
            "metadata": {"name": f"{volume}-{node}"},
            "spec": {"volumeName": volume, "nodeID": node, "healthyAt": "2026-11-21T10:00:00Z"},
        }

    def remove_replica(self, claim: str, node: str) -> None:
        """Delete a copy."""
        del self.objects[f"{PATH}/replicas/pvc-{claim.partition('/')[2]}-{node}"]

    def copies_of(self, claim: str) -> int:
        """The wanted number of copies of a volume."""
        volume = self.objects[f"{PATH}/volumes/pvc-{claim.partition('/')[2]}"]
        return int(volume["spec"]["numberOfReplicas"])
