"""What containers do with a volume: their init containers are run, before their pod is.

No other container runs on a rack. A pod that claims a volume begins as its kubelet would let it:
the volume is a folder, as are its secrets; the commands of its init containers are real, run by
this machine's own shell with those folders in the place of their mount paths, and kwok shows the
pod as running once they have ended well. A command in a pod of Traefik's (``kubectl exec``) finds
that pod's folder in the place of ``/data``.

Left out: images, users but for root's work on files, limits, and everything else that isolates.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..talos.machine import Machine
from .client import KubernetesClient

ANNOTATION = "rack.simulated/init-containers"
"""On the pods whose init containers have ended well; stages.yaml waits for it."""
DONE = "done"
VOLUMES = "volumes"
"""Folder of the volumes, one for each, by its name."""
_ENDED = ("Succeeded", "Failed")
_NAMESPACE, _DATA = "traefik", "/data"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Thing = dict[str, Any]

_SHELL = f"""#!/bin/sh
# The shell of a container: sh -c SCRIPT
export PATH={_PATH}
exec /bin/sh -c "$(printf %s "$2" | sed "s#{_DATA}#$DATA#g")"
"""


class Containers:
    """The containers of one cluster, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        """Leads to the volume of Traefik's pod."""
        self.programs = folder / "programs"
        """What a command in a pod can be: a PATH."""

    def write(self) -> list[Thing]:
        """Write what is needed; returns what kwok is told: in which folder a command runs."""
        self.programs.mkdir(exist_ok=True)
        (self._folder / VOLUMES).mkdir(exist_ok=True)
        shell = self.programs / "sh"
        shell.write_text(_SHELL, encoding="utf-8")
        shell.chmod(0o755)
        if os.geteuid() != 0:
            # Only root can give a file away.
            owner = self.programs / "chown"
            owner.write_text("#!/bin/sh\n", encoding="utf-8")
            owner.chmod(0o755)
        local = {
            "workDir": str(self._folder),
            "envs": [{"name": "DATA", "value": str(self._data)}],
        }
        return [
            {
                "apiVersion": "kwok.x-k8s.io/v1alpha1",
                "kind": "ClusterExec",
                "metadata": {"name": "traefik"},
                "spec": {
                    "selector": {"matchNamespaces": [_NAMESPACE]},
                    "execs": [{"local": local}],
                },
            }
        ]

    async def begin(self, client: KubernetesClient, machines: Sequence[Machine]) -> None:
        """Run the init containers of each pod that waits for them, on a machine that has power."""
        volumes = {it["metadata"]["name"] for it in await client.list("/api/v1/persistentvolumes")}
        for folder in (self._folder / VOLUMES).iterdir():
            if folder.name not in volumes:
                shutil.rmtree(folder)
        powered = {machine.hostname for machine in machines}
        pods = await client.list("/api/v1/pods")
        claims = {
            (it["metadata"]["namespace"], it["metadata"]["name"])
            for it in await client.list("/api/v1/persistentvolumeclaims")
            if it["spec"]["accessModes"] == ["ReadWriteOnce"]
        }
        for pod in pods:
            if pod["spec"].get("nodeName") in powered and is_startable(pod, pods, claims):
                await self._begin(client, pod)
                pod["metadata"].setdefault("annotations", {})[ANNOTATION] = DONE

    async def _begin(self, client: KubernetesClient, pod: Thing) -> None:
        folders = {
            volume["name"]: await self._mounted(client, pod, volume)
            for volume in pod["spec"].get("volumes", [])
        }
        for container in pod["spec"].get("initContainers", []):
            await self._run(container, folders)
        metadata = pod["metadata"]
        if metadata["namespace"] == _NAMESPACE:
            self._data.unlink(missing_ok=True)
            self._data.symlink_to(folders[_claims(pod)[0]["name"]])
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        await client.patch(path, {"metadata": {"annotations": {ANNOTATION: DONE}}})

    async def _mounted(self, client: KubernetesClient, pod: Thing, volume: Thing) -> Path:
        """The folder that stands for a volume of a pod, with what is in it."""
        space = f"/api/v1/namespaces/{pod['metadata']['namespace']}"
        if claim := volume.get("persistentVolumeClaim"):
            path = f"{space}/persistentvolumeclaims/{claim['claimName']}"
            found = await client.get(path) or {}
            folder: Path = self._folder / VOLUMES / found["spec"]["volumeName"]
            folder.mkdir(exist_ok=True)
            return folder
        folder = self._folder / "pods" / pod["metadata"]["uid"] / volume["name"]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if wanted := volume.get("secret"):
            secret = await client.get(f"{space}/secrets/{wanted['secretName']}") or {}
            for name, value in (secret.get("data") or {}).items():
                (folder / name).write_bytes(base64.b64decode(value))
                (folder / name).chmod(wanted["defaultMode"])
        return folder

    async def _run(self, container: Thing, folders: dict[str, Path]) -> None:
        mounts = {it["mountPath"]: str(folders[it["name"]]) for it in container["volumeMounts"]}
        places = re.compile("|".join(map(re.escape, mounts)))
        command = [places.sub(lambda it: mounts[it[0]], word) for word in container["command"]]
        # The first of its PATH is what only root could do.
        own = "" if os.geteuid() == 0 else f"{self.programs}:"
        process = await asyncio.create_subprocess_exec(
            f"/bin/{command[0]}",
            *command[1:],
            env={"PATH": own + _PATH},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await process.communicate()
        if process.returncode:
            raise OSError(f"init container {container['name']}: {complaint.decode().strip()}")


def is_startable(pod: Thing, pods: Sequence[Thing], claims: Collection[tuple[str, str]]) -> bool:
    """Whether a pod waits, and no pod of another node has one of its volumes.

    ``claims`` are those of volumes that one node at a time can have, by namespace and name. A pod
    that is being deleted has its volumes until it is gone.
    """
    if not _claims(pod) or _has_begun(pod) or pod["metadata"].get("deletionTimestamp"):
        return False
    wanted = _claimed(pod) & set(claims)
    return not any(
        _has_begun(other)
        and other["spec"]["nodeName"] != pod["spec"]["nodeName"]
        and other["status"].get("phase") not in _ENDED
        and _claimed(other) & wanted
        for other in pods
    )


def _has_begun(pod: Thing) -> bool:
    return ANNOTATION in pod["metadata"].get("annotations", {})


def _claimed(pod: Thing) -> set[tuple[str, str]]:
    namespace = pod["metadata"]["namespace"]
    return {(namespace, it["persistentVolumeClaim"]["claimName"]) for it in _claims(pod)}


def _claims(pod: Thing) -> list[Thing]:
    return [it for it in pod["spec"].get("volumes", []) if "persistentVolumeClaim" in it]
