"""Engine images: the default one, and the volumes that still run another.

The default image is what the longhorn-manager DaemonSet names. A volume keeps the image that it was
made with; the setting concurrent-automatic-engine-upgrade-per-node-limit, above 0, moves it to the
default one (v1.12.1 controller/engine_image_controller.go). Left out: incompatible images, and that
an image without volumes is removed after an hour.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from ..client import KubernetesClient
from .objects import ALL, NAMESPACE, Thing, by_name, condition, custom_object, difference
from .view import View
from .volumes import ATTACHED, DETACHED

DEFAULT_IMAGE = "default-engine-image"
"""The name of the setting."""
_MANAGER = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/longhorn-manager"
_FLAG = "--engine-image"
_UNNAMED = "stand-in/longhorn-engine:unknown"


async def keep(client: KubernetesClient, view: View) -> str:
    """Follow the default image, and upgrade volumes; returns the default image."""
    image = engine_image(await client.get(_MANAGER))
    await _keep_setting(client, image)
    images = by_name(await client.list(f"{ALL}/engineimages"))
    for used in {image} | {str(volume["spec"].get("image")) for volume in view.volumes.values()}:
        if used and image_name(used) not in images:
            wanted = custom_object("EngineImage", image_name(used), {"image": used})
            await client.create(f"{ALL}/engineimages", wanted)
    for name, found in images.items():
        change = difference(found.get("status") or {}, _status(found, view))
        if change:
            await client.patch(f"{ALL}/engineimages/{name}/status", {"status": change})
    await _upgrade(client, view, image)
    return image


def engine_image(manager: Thing | None) -> str:
    """The engine image that the longhorn-manager DaemonSet names."""
    spec = (manager or {}).get("spec", {}).get("template", {}).get("spec", {})
    for container in spec.get("containers", []):
        words = [*container.get("command", []), *container.get("args", [])]
        if _FLAG in words[:-1]:
            return str(words[words.index(_FLAG) + 1])
    return _UNNAMED


def image_name(image: str) -> str:
    """The name of the object for an image (types.GetEngineImageChecksumName)."""
    return f"ei-{hashlib.sha512(image.encode()).hexdigest()[:8]}"


def upgrade_candidates(view: View, image: str) -> Iterator[Thing]:
    """The volumes whose upgrade begins now: so many on each node as the settings allow."""
    limit = view.settings.concurrent_automatic_engine_upgrade_per_node_limit
    if limit <= 0 or not view.hand.engine_upgrades:
        return
    running = Counter(
        _node(volume) for volume in view.volumes.values() if _is_being_upgraded(volume)
    )
    for volume in view.volumes.values():
        status = volume.get("status") or {}
        is_ready = status.get("state") == DETACHED or (
            status.get("state") == ATTACHED and status.get("robustness") == "healthy"
        )
        is_old = volume["spec"].get("image") != image
        if (
            is_old
            and is_ready
            and not _is_being_upgraded(volume)
            and running[_node(volume)] < limit
        ):
            running[_node(volume)] += 1
            yield volume


async def _keep_setting(client: KubernetesClient, image: str) -> None:
    setting = await client.get(f"{ALL}/settings/{DEFAULT_IMAGE}")
    if setting is None:
        wanted = custom_object("Setting", DEFAULT_IMAGE, {})
        del wanted["spec"]
        await client.create(f"{ALL}/settings", wanted | {"value": image})
    elif setting.get("value") != image:
        await client.patch(f"{ALL}/settings/{DEFAULT_IMAGE}", {"value": image})


async def _upgrade(client: KubernetesClient, view: View, image: str) -> None:
    for volume in upgrade_candidates(view, image):
        name = volume["metadata"]["name"]
        await client.patch(f"{ALL}/volumes/{name}", {"spec": {"image": image}})
    if not view.hand.engine_upgrades:
        return
    for name, volume in view.volumes.items():
        if not _is_being_upgraded(volume):
            continue
        wanted = volume["spec"]["image"]
        for replica in view.replicas:
            if replica["spec"]["volumeName"] == name:
                path = f"{ALL}/replicas/{replica['metadata']['name']}"
                await client.patch(path, {"spec": {"image": wanted}})
        change = {"status": {"currentImage": wanted}}
        await client.patch(f"{ALL}/volumes/{name}/status", change)


def _is_being_upgraded(volume: Thing) -> bool:
    current = (volume.get("status") or {}).get("currentImage")
    return bool(current) and current != volume["spec"].get("image")


def _node(volume: Thing) -> str:
    return str((volume.get("status") or {}).get("currentNodeID", ""))


def _status(found: Thing, view: View) -> Thing:
    image, former = found["spec"]["image"], found.get("status") or {}
    users = [
        volume
        for volume in view.volumes.values()
        if image in {volume["spec"].get("image"), (volume.get("status") or {}).get("currentImage")}
    ]
    return {
        "conditions": [condition(former.get("conditions"), "ready", True)],
        "incompatible": False,
        "nodeDeploymentMap": {name: view.runs_on(name) for name in view.nodes},
        "refCount": len(users),
        "state": "deployed",
        "version": image.rpartition(":")[2],
    }
