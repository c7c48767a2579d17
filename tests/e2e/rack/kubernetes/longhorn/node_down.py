"""Pods on a node that is down: nobody ends them, unless the settings let Longhorn force it.

After v1.12.1 controller/kubernetes_pod_controller.go handlePodDeletionIfNodeDown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from ..client import KubernetesClient
from .nodes import is_down
from .objects import DRIVER, Thing
from .view import View

_ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
_OWNERS = {
    "delete-statefulset-pod": {"StatefulSet"},
    "delete-deployment-pod": {"ReplicaSet"},
    "delete-both-statefulset-and-deployment-pod": {"StatefulSet", "ReplicaSet"},
}
"""The kinds of owners of the pods that a policy lets Longhorn delete."""


async def release_pods(client: KubernetesClient, view: View) -> None:
    """Force the deletion of pods that keep a volume on a node that is down."""
    stuck = stuck_pods(view)
    if not stuck:
        return
    attachments = await client.list(_ATTACHMENTS)
    for pod in stuck:
        held = _attachments_of(pod, attachments, view)
        for attachment in held:
            await client.delete(f"{_ATTACHMENTS}/{attachment['metadata']['name']}")
        if not held and _is_overdue(pod):
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            await client.delete(path, grace_period_s=0)


def stuck_pods(view: View) -> list[Thing]:
    """The pods that are being deleted on nodes that are down, as far as the settings go."""
    owners = _OWNERS.get(view.settings.node_down_pod_deletion_policy, set())
    return [
        pod
        for pod in view.pods
        if pod["metadata"].get("deletionTimestamp")
        and owners & {it["kind"] for it in pod["metadata"].get("ownerReferences") or ()}
        and pod["spec"].get("nodeName")
        and view.volumes_of(pod)
        and is_down(view, pod["spec"]["nodeName"])
    ]


def _is_overdue(pod: Thing) -> bool:
    """Whether the time is over that the pod had to end by itself."""
    until = datetime.fromisoformat(pod["metadata"]["deletionTimestamp"])
    return until.timestamp() <= time.time()


def _attachments_of(pod: Thing, attachments: Sequence[Thing], view: View) -> list[Thing]:
    volumes = view.volumes_of(pod)
    return [
        it
        for it in attachments
        if it["spec"]["attacher"] == DRIVER
        and it["spec"]["nodeName"] == pod["spec"]["nodeName"]
        and it["spec"]["source"].get("persistentVolumeName") in volumes
    ]
