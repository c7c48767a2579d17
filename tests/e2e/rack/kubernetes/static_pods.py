"""The static pods of control planes, as their kubelets show them: mirrors without a life."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..talos.machine import Machine
from .client import KubernetesClient

_PODS = "/api/v1/namespaces/kube-system/pods"
_VERSION = "talos.dev/config-version"
_MIRROR = "kubernetes.io/config.mirror"


async def mirror(client: KubernetesClient, machines: list[Machine]) -> None:
    """Keep a pod for each program of each control plane that is in its cluster."""
    existing = {pod["metadata"]["name"]: pod for pod in await client.list(_PODS)}
    nodes = {node["metadata"]["name"] for node in await client.list("/api/v1/nodes")}
    for machine in machines:
        if machine.hostname not in nodes:
            continue
        for wanted in _pods(machine):
            name = wanted["metadata"]["name"]
            found = existing.get(name)
            if found is None:
                await client.create(_PODS, wanted)
            elif found["metadata"]["annotations"][_VERSION] != _version(wanted):
                change = {
                    "metadata": {"annotations": {_VERSION: _version(wanted)}},
                    "spec": {"containers": wanted["spec"]["containers"]},
                }
                await client.patch(f"{_PODS}/{name}", change)


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
