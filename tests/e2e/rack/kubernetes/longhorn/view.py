"""What the stand-in sees of a cluster in one step."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

from ...talos.hand import Hand
from ...talos.machine import Machine
from ..client import KubernetesClient
from .objects import ALL, DRIVER, NAMESPACE, Thing, by_name, holds
from .settings import Settings

_CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_LISTS = {
    "kubernetes_nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "claims": "/api/v1/persistentvolumeclaims",
    "persistent_volumes": "/api/v1/persistentvolumes",
    "nodes": f"{ALL}/nodes",
    "volumes": f"{ALL}/volumes",
    "replicas": f"{ALL}/replicas",
}
_ENDED = ("Succeeded", "Failed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """The objects of a cluster, and its machines that have power."""

    hand: Hand
    settings: Settings
    machines: Mapping[str, Machine]
    """By the names of their nodes."""
    kubernetes_nodes: Mapping[str, Thing]
    managers: Mapping[str, Thing]
    """The pods of longhorn-manager, by their nodes."""
    pods: Sequence[Thing]
    claims: Mapping[tuple[str, str], Thing]
    """By namespace and name."""
    persistent_volumes: Mapping[str, Thing]
    """Longhorn's."""
    nodes: Mapping[str, Thing]
    """Longhorn's."""
    volumes: Mapping[str, Thing]
    replicas: Sequence[Thing]

    @classmethod
    async def read(cls, client: KubernetesClient, machines: Sequence[Machine], hand: Hand) -> View:
        """Read everything."""
        config_map, *lists = await asyncio.gather(
            client.get(f"{_CONFIG_MAPS}/longhorn-default-setting"),
            *(client.list(path) for path in _LISTS.values()),
        )
        found: dict[str, list[Thing]] = dict(zip(_LISTS, lists, strict=True))
        return cls(
            hand=hand,
            settings=Settings.from_config_map(config_map),
            machines={machine.hostname: machine for machine in machines},
            kubernetes_nodes=by_name(found["kubernetes_nodes"]),
            managers={
                pod["spec"]["nodeName"]: pod
                for pod in found["pods"]
                if _is_manager(pod) and "nodeName" in pod["spec"]
            },
            pods=found["pods"],
            claims={
                (it["metadata"]["namespace"], it["metadata"]["name"]): it for it in found["claims"]
            },
            persistent_volumes=by_name(
                volume
                for volume in found["persistent_volumes"]
                if volume["spec"].get("csi", {}).get("driver") == DRIVER
            ),
            nodes=by_name(found["nodes"]),
            volumes=by_name(found["volumes"]),
            replicas=found["replicas"],
        )

    def runs_on(self, node: str) -> bool:
        """Whether longhorn-manager runs on a node, whose machine has power."""
        manager = self.managers.get(node)
        return node in self.machines and manager is not None and is_ready(manager)

    @property
    def is_managed(self) -> bool:
        """Whether longhorn-manager runs on any node."""
        return any(self.runs_on(node) for node in self.managers)

    def volumes_of(self, pod: Thing) -> set[str]:
        """The names of Longhorn's volumes that a pod uses."""
        claimed = (
            self.claims.get(
                (pod["metadata"]["namespace"], it["persistentVolumeClaim"]["claimName"])
            )
            for it in pod["spec"].get("volumes", [])
            if "persistentVolumeClaim" in it
        )
        names = {claim["spec"].get("volumeName", "") for claim in claimed if claim}
        return names & self.persistent_volumes.keys()

    def nodes_using(self, volume: str) -> list[str]:
        """The nodes of the pods that use a volume, that of the oldest pod first."""
        users = [
            pod
            for pod in self.pods
            if pod["spec"].get("nodeName")
            and pod.get("status", {}).get("phase") not in _ENDED
            and volume in self.volumes_of(pod)
        ]
        users.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        return [pod["spec"]["nodeName"] for pod in users]


def is_ready(pod: Thing) -> bool:
    """Whether a pod is ready."""
    status = pod.get("status", {})
    return status.get("phase") == "Running" and holds(status, "Ready")


def _is_manager(pod: Thing) -> bool:
    metadata = pod["metadata"]
    label = (metadata.get("labels") or {}).get("app")
    return bool(metadata["namespace"] == NAMESPACE and label == "longhorn-manager")
