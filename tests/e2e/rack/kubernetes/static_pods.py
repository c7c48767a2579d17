"""The static pods of control planes, as their kubelets show them: mirrors without a life.

One whose config is another begins anew: it is not ready for a while, and the diary has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..talos.hand import Hand
from ..talos.machine import Machine
from .client import KubernetesClient

_PODS = "/api/v1/namespaces/kube-system/pods"
_VERSION = "talos.dev/config-version"
_MIRROR = "kubernetes.io/config.mirror"


async def mirror(client: KubernetesClient, machines: list[Machine], hand: Hand) -> None:
    """Keep a pod for each program of each control plane that is in its cluster."""
    existing = {pod["metadata"]["name"]: pod for pod in await client.list(_PODS)}
    nodes = {node["metadata"]["name"] for node in await client.list("/api/v1/nodes")}
    for machine in machines:
        if machine.hostname not in nodes:
            continue
        for wanted in _pods(machine):
            found = existing.get(wanted["metadata"]["name"])
            if found is None:
                await client.create(_PODS, wanted)
            else:
                await _follow(client, found, wanted, hand)


async def _follow(
    client: KubernetesClient, found: dict[str, Any], wanted: dict[str, Any], hand: Hand
) -> None:
    name = wanted["metadata"]["name"]
    if _version(found) != _version(wanted):
        # First: nobody may see the new one as ready that the old one was.
        await _set_ready(client, name, "False")
        hand.note("stopped", name)
        hand.beginning[name] = time.monotonic()
        change = {
            "metadata": {"annotations": {_VERSION: _version(wanted)}},
            "spec": {"containers": wanted["spec"]["containers"]},
        }
        await client.patch(f"{_PODS}/{name}", change)
    elif name in hand.beginning and time.monotonic() - hand.beginning[name] >= hand.restart_s:
        del hand.beginning[name]
        hand.note("runs", name)
        await _set_ready(client, name, "True")


async def _set_ready(client: KubernetesClient, name: str, status: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [
        {"type": kind, "status": status, "lastTransitionTime": now}
        for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    await client.patch(f"{_PODS}/{name}/status", {"status": {"conditions": conditions}})


def _version(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["annotations"][_VERSION])


def _pods(machine: Machine) -> Iterator[dict[str, Any]]:
    config = machine.config
    for program, image in config.images.items() if config else ():
        if config is None or program == "kubelet":
            continue
        version = config.version_of(program)
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{program}-{machine.hostname}",
                "namespace": "kube-system",
                "labels": {"k8s-app": program, "tier": "control-plane"},
                "annotations": {_VERSION: version, _MIRROR: version},
            },
            "spec": {
                "nodeName": machine.hostname,
                "hostNetwork": True,
                "automountServiceAccountToken": False,
                "tolerations": [{"operator": "Exists"}],
                "containers": [
                    {
                        "name": program,
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File",
                    }
                ],
            },
        }
