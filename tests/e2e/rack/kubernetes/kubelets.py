"""Nodes as their kubelets would register and report them."""

from __future__ import annotations

import time
from typing import Any

from ..talos.machine import Machine
from .client import KubernetesClient

LABEL = "rack.simulated/kubelet"
"""On the nodes whose machines have power; kwok looks after their pods and no others'.

A label: kwok v0.8.0 goes on to look after a node that loses an annotation.
"""
RUNNING = "running"

_NODES = "/api/v1/nodes"
_PODS = "/api/v1/pods"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_RENEWAL = 5
"""Seconds between two renewals of a node's lease; half of what a kubelet takes."""
_SCHEMATIC = "extensions.talos.dev/schematic"
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_READY, _UNKNOWN = "True", "Unknown"


async def report(client: KubernetesClient, machines: list[Machine]) -> None:
    """Register new nodes, and tell of each whether its machine has power."""
    nodes = {node["metadata"]["name"]: node for node in await client.list(_NODES)}
    for machine in machines:
        if machine.hostname not in nodes and not machine.is_registered:
            await client.create(_NODES, _node(machine))
            nodes[machine.hostname] = {}
        elif not machine.is_registered:
            await _restart_pods(client, machine)
        machine.is_registered = True
        await _renew_lease(client, machine)
    powered = {machine.hostname: machine for machine in machines}
    for name, node in nodes.items():
        await _update(client, name, node, powered.get(name))


async def _restart_pods(client: KubernetesClient, machine: Machine) -> None:
    """Report the pods of a machine that has booted as ready again.

    While a node is not ready, the controller manager says that its pods are not either.
    """
    for pod in await client.list(f"{_PODS}?fieldSelector=spec.nodeName%3D{machine.hostname}"):
        metadata, status = pod["metadata"], pod["status"]
        if status.get("phase") != "Running" or "deletionTimestamp" in metadata:
            continue
        conditions = [
            condition | ({"status": _READY} if condition["type"] == "Ready" else {})
            for condition in status.get("conditions", [])
        ]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        await client.patch(path, {"status": {"conditions": conditions}})


async def _renew_lease(client: KubernetesClient, machine: Machine) -> None:
    now = time.time()
    if now - machine.lease_renewed < _RENEWAL:
        return
    machine.lease_renewed = now
    renewal = (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1e6) % 10**6:06}Z"
    )
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": machine.hostname, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": machine.hostname,
            "leaseDurationSeconds": 40,
            "renewTime": renewal,
        },
    }
    # A merge costs the API server a fraction of what an apply does.
    if not await client.patch(f"{_LEASES}/{machine.hostname}", lease):
        await client.create(_LEASES, lease)


async def _update(
    client: KubernetesClient, name: str, node: dict[str, Any], machine: Machine | None
) -> None:
    metadata: dict[str, Any] = {"labels": {LABEL: None}}
    if machine:
        metadata = {
            "labels": _labels(machine) | {LABEL: RUNNING},
            "annotations": {_SCHEMATIC: machine.schematic},
        }
    status = _status(machine) if machine else {"conditions": _conditions(_UNKNOWN)}
    if not _is_reported(node, metadata, status):
        await client.patch(f"{_NODES}/{name}", {"metadata": metadata})
        await client.patch(f"{_NODES}/{name}/status", {"status": status})


def _is_reported(node: dict[str, Any], metadata: dict[str, Any], status: dict[str, Any]) -> bool:
    """Compare a node with what is to be reported, but for the times."""
    if not node:
        return False
    labels: dict[str, str] = node["metadata"].get("labels", {})
    reported: dict[str, Any] = node["status"]
    ready = {c["type"]: c["status"] for c in reported.get("conditions", [])}.get("Ready")
    rest = {key: value for key, value in status.items() if key != "conditions"}
    expected: dict[str, str | None] = metadata["labels"]
    return (
        ready == str(status["conditions"][0]["status"])
        and rest.items() <= reported.items()
        and all(labels.get(name) == value for name, value in expected.items())
    )


def _node(machine: Machine) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": machine.hostname,
            "labels": _labels(machine) | {LABEL: RUNNING},
        },
        "spec": {"taints": _taints(machine)},
    }


def _labels(machine: Machine) -> dict[str, str]:
    """Return what Talos sets.

    The exclusion from external load balancers is in the configuration that
    Talos generates for control planes, and can be patched away there.
    """
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": machine.hostname,
        "kubernetes.io/os": "linux",
    }
    if machine.is_control_plane:
        labels[_CONTROL_PLANE] = ""
    configured = machine.config.get("machine", "nodeLabels") if machine.config else None
    return labels | (configured or {})


def _taints(machine: Machine) -> list[dict[str, str]]:
    if machine.config is None or not machine.is_control_plane:
        return []
    if machine.config.get("cluster", "allowSchedulingOnControlPlanes"):
        return []
    return [{"key": _CONTROL_PLANE, "effect": "NoSchedule"}]


def _status(machine: Machine) -> dict[str, Any]:
    resources = {
        "cpu": str(machine.guest.cores),
        "ephemeral-storage": "100Gi",
        "memory": f"{machine.guest.memory // 1024}Ki",
        "pods": "110",
    }
    image = machine.config.images["kubelet"] if machine.config else ""
    return {
        "conditions": _conditions(_READY),
        "addresses": [
            {"type": "InternalIP", "address": machine.address},
            {"type": "Hostname", "address": machine.hostname},
        ],
        "capacity": resources,
        "allocatable": resources,
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": machine.boot_id,
            "containerRuntimeVersion": "containerd://simulated",
            "kernelVersion": "simulated",
            "kubeProxyVersion": "",
            "kubeletVersion": image.rpartition(":")[2],
            "machineID": str(machine.guest.vmid),
            "operatingSystem": "linux",
            "osImage": f"Talos ({machine.version})",
            "systemUUID": str(machine.guest.vmid),
        },
    }


def _conditions(ready: str) -> list[dict[str, str]]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    pressures = ("MemoryPressure", "DiskPressure", "PIDPressure")
    reason = "KubeletReady" if ready == _READY else "NodeStatusUnknown"
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return [
        {"type": "Ready", "status": ready, "reason": reason, **times},
        *(
            {"type": name, "status": "False" if ready == _READY else ready, **times}
            for name in pressures
        ),
    ]
