"""Longhorn's StorageClass, and a persistent volume for each claim.

Longhorn's manager makes the class from a ConfigMap of its chart, and takes it away when it is
uninstalled. A persistent volume whose class says Retain stays when its claim
is deleted, and so does Longhorn's own volume.
"""

from __future__ import annotations

from typing import Any

import yaml

from ..client import KubernetesClient
from .objects import ALL, DRIVER

_CONFIG = "/api/v1/namespaces/longhorn-system/configmaps/longhorn-storageclass"
_LAST_APPLIED = "longhorn.io/last-applied-configmap"
_MANAGER = "/apis/apps/v1/namespaces/longhorn-system/daemonsets/longhorn-manager"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"


async def provision(client: KubernetesClient) -> None:
    """Keep the class, and the volumes of its claims."""
    classes = {c["metadata"]["name"]: c for c in await client.list(_CLASSES)}
    ours = {name: c for name, c in classes.items() if c["provisioner"] == DRIVER}
    await _keep_class(client, ours)
    volumes = {volume["metadata"]["name"]: volume for volume in await client.list(_VOLUMES)}
    for claim in await client.list(_CLAIMS):
        storage_class = ours.get(claim["spec"].get("storageClassName", ""))
        name = f"pvc-{claim['metadata']['uid']}"
        if storage_class and claim["status"]["phase"] == "Pending" and name not in volumes:
            await client.create(_VOLUMES, _volume(name, claim, storage_class))
    for name, volume in volumes.items():
        if volume["status"].get("phase") == "Released" and _is_to_be_deleted(volume):
            await client.delete(f"{_VOLUMES}/{name}")
            await client.delete(f"{ALL}/volumes/{name}")


async def _keep_class(client: KubernetesClient, ours: dict[str, Any]) -> None:
    config = await client.get(_CONFIG)
    if config is None:
        for name in ours:
            await client.delete(f"{_CLASSES}/{name}")
        return
    manager = await client.get(_MANAGER)
    if manager and manager["status"].get("numberReady"):
        await _follow_config(client, config["data"]["storageclass.yaml"], ours)


async def _follow_config(client: KubernetesClient, text: str, ours: dict[str, Any]) -> None:
    """Create the class, or delete and create it again if its text changed, as Longhorn does
    (longhorn-manager v1.12.1 controller/kubernetes_configmap_controller.go)."""
    wanted = yaml.safe_load(text)
    wanted["metadata"].setdefault("annotations", {})[_LAST_APPLIED] = text
    name = wanted["metadata"]["name"]
    if found := ours.get(name):
        if found["metadata"].get("annotations", {}).get(_LAST_APPLIED) == text:
            return
        await client.delete(f"{_CLASSES}/{name}")
    await client.create(_CLASSES, wanted)


def _is_to_be_deleted(volume: dict[str, Any]) -> bool:
    spec = volume["spec"]
    driver, policy = spec.get("csi", {}).get("driver"), spec["persistentVolumeReclaimPolicy"]
    return (driver, policy) == (DRIVER, "Delete")


def _volume(name: str, claim: dict[str, Any], storage_class: dict[str, Any]) -> dict[str, Any]:
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER},
        },
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "csi": {"driver": DRIVER, "fsType": "ext4", "volumeHandle": name},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": "Filesystem",
        },
    }
