"""The stand-in for Longhorn on a real control plane: disks, volumes, and a node that goes down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.rack.kubernetes.client import KubernetesClient
from tests.e2e.rack.kubernetes.containers import ANNOTATION
from tests.e2e.rack.kubernetes.longhorn.objects import ALL
from tests.e2e.rack.rack import Rack
from tests.e2e.rack.talos.messages import talos

from .control_plane import NODES, PROGRAMS, administrator, ready, until
from .longhorn_cluster import DATA, LABEL
from .machine_configs import SELECTOR, VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient
from .talos_client import Apply, Connect

CONTROL_PLANE = "127.77.5.11"
WORKERS = {201: ("127.77.5.21", "worker1", "pve1"), 202: ("127.77.5.22", "worker2", "pve2")}
SYSTEM = "/api/v1/namespaces/longhorn-system"
PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
UNREACHABLE = "node.kubernetes.io/unreachable"
DELETE = "delete-both-statefulset-and-deployment-pod"
KINDS = {
    "backuptargets": "BackupTarget",
    "backupvolumes": "BackupVolume",
    "engineimages": "EngineImage",
    "nodes": "Node",
    "recurringjobs": "RecurringJob",
    "replicas": "Replica",
    "settings": "Setting",
    "volumes": "Volume",
}
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="no Kubernetes programs")


@pytest.fixture
async def rack() -> AsyncIterator[Rack]:
    """A rack that can run Kubernetes, and moves pods away from dead nodes soon."""
    async with Rack(["pve"], kubernetes=PROGRAMS) as rack:
        rack.talos.hand.toleration_s = 2
        yield rack


@pytest.fixture
async def kubernetes(
    proxmox: ProxmoxClient,
    connect: Connect,
    apply: Apply,
    secrets: ClusterSecrets,
    tmp_path: Path,
) -> AsyncIterator[KubernetesClient]:
    """A client of a cluster with Longhorn on three machines, two with data disks."""
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP))
    for vmid, (address, name, zone) in WORKERS.items():
        labels = {LABEL: "true", "topology.kubernetes.io/zone": zone}
        await proxmox.boot_machine(vmid, address)
        await apply(address, secrets.config("worker", name, selector=SELECTOR, labels=labels))
    async with connect(CONTROL_PLANE) as machine:
        await machine.call("Bootstrap", talos.BootstrapRequest())
    async with administrator(secrets, tmp_path) as client:
        await until(ready(client, cp1="True", worker1="True", worker2="True"))
        await install(client)
        yield client


async def install(client: KubernetesClient) -> None:
    """Create what Longhorn's chart would, as far as the stand-in looks at it."""
    for plural, kind in KINDS.items():
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await client.create(path, definition(plural, kind))
    await client.create("/api/v1/namespaces", {"metadata": {"name": "longhorn-system"}})
    await configure(client)
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "longhorn"},
        "provisioner": "driver.longhorn.io",
        "reclaimPolicy": "Retain",
        "parameters": {"numberOfReplicas": "2"},
    }
    config = {
        "metadata": {"name": "longhorn-storageclass"},
        "data": {"storageclass.yaml": yaml.safe_dump(storage_class)},
    }
    await client.create(f"{SYSTEM}/configmaps", config)
    manager = workload("longhorn-manager", tolerations=[{"operator": "Exists"}])
    await client.create("/apis/apps/v1/namespaces/longhorn-system/daemonsets", manager)


async def configure(client: KubernetesClient, **settings: str) -> None:
    """Write Longhorn's settings."""
    given = {
        "create-default-disk-labeled-nodes": "true",
        "default-data-path": "/var/mnt/longhorn",
        "storage-reserved-percentage-for-default-disk": "0",
        "replica-auto-balance": "least-effort",
    } | {name.replace("_", "-"): value for name, value in settings.items()}
    data = {"default-setting.yaml": yaml.safe_dump(given)}
    name = "longhorn-default-setting"
    if await client.get(f"{SYSTEM}/configmaps/{name}"):
        await client.patch(f"{SYSTEM}/configmaps/{name}", {"data": data})
    else:
        await client.create(f"{SYSTEM}/configmaps", {"metadata": {"name": name}, "data": data})


async def test_disks_and_volumes_are_what_the_machines_have(
    rack: Rack, kubernetes: KubernetesClient
) -> None:
    async def sizes() -> dict[str, list[int]]:
        return {
            node["metadata"]["name"]: [
                disk["storageMaximum"]
                for disk in node.get("status", {}).get("diskStatus", {}).values()
            ]
            for node in await kubernetes.list(f"{ALL}/nodes")
        }

    async def has_sizes() -> bool:
        return await sizes() == {"cp1": [], "worker1": [DATA], "worker2": [DATA]}

    await until(has_sizes)
    nodes = {it["metadata"]["name"]: it for it in await kubernetes.list(f"{ALL}/nodes")}
    assert nodes["worker1"]["status"]["zone"] == "pve1"

    await until(lambda: kubernetes.get("/apis/storage.k8s.io/v1/storageclasses/longhorn"))
    await kubernetes.create(CLAIMS, claim("data"))
    await kubernetes.create(PODS, {"metadata": {"name": "user"}, "spec": pod_spec("data")})
    await until(lambda: volume_is(kubernetes, state="attached", robustness="healthy"))
    (volume,) = await kubernetes.list(f"{ALL}/volumes")
    path = f"{ALL}/volumes/{volume['metadata']['name']}"
    assert volume["spec"]["size"] == str(1024**3)
    assert volume["spec"]["image"] == "stand-in/longhorn-engine:unknown"
    await kubernetes.patch(path, {"spec": {"numberOfReplicas": 1}})
    await until(lambda: replicas_are(kubernetes, 1))
    rack.talos.hand.rebuilds = False
    await kubernetes.patch(path, {"spec": {"numberOfReplicas": 2}})
    await until(lambda: volume_is(kubernetes, state="attached", robustness="degraded"))
    rack.talos.hand.rebuilds = True
    await until(lambda: volume_is(kubernetes, state="attached", robustness="healthy"))

    await kubernetes.delete(f"{PODS}/user")
    await until(lambda: volume_is(kubernetes, state="detached", robustness="unknown"))
    await kubernetes.delete(f"{CLAIMS}/data")
    await until(lambda: is_released(kubernetes))
    assert await kubernetes.get(path) and await replicas_are(kubernetes, 2)


async def test_a_pod_stays_on_a_node_without_power_unless_longhorn_deletes_it(
    proxmox: ProxmoxClient, kubernetes: KubernetesClient
) -> None:
    await until(lambda: kubernetes.get("/apis/storage.k8s.io/v1/storageclasses/longhorn"))
    await kubernetes.create(CLAIMS, claim("data"))
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    await kubernetes.create(deployments, workload("app", **pod_spec("data")))
    await until(lambda: started(kubernetes, 1))
    (before,) = await pods(kubernetes)
    node = before["spec"]["nodeName"]
    vmid = next(vmid for vmid, (_, name, _) in WORKERS.items() if name == node)
    await proxmox.vm(vmid, "POST", "status/stop")
    await until(lambda: is_tainted(kubernetes, node))

    async def has_replacement() -> bool:
        found = await pods(kubernetes)
        return len(found) == 2 and all(it["spec"].get("nodeName") for it in found)

    await until(has_replacement)
    found = {it["metadata"]["name"]: it for it in await pods(kubernetes)}
    assert found.pop(before["metadata"]["name"])["metadata"]["deletionTimestamp"]
    (replacement,) = found.values()
    assert replacement["spec"]["nodeName"] != node
    await until(lambda: volume_is(kubernetes, state="attached", robustness="unknown"))
    for _ in range(5):  # it would be gone, or the other one would have begun
        await until(lambda: started(kubernetes, 1))

    await configure(kubernetes, node_down_pod_deletion_policy=DELETE)

    async def has_moved() -> bool:
        moved = await pods(kubernetes)
        names = [it["metadata"]["name"] for it in moved]
        return names == [replacement["metadata"]["name"]] and await started(kubernetes, 1)

    await until(has_moved)
    await until(lambda: volume_is(kubernetes, state="attached", robustness="degraded"))
    await proxmox.vm(vmid, "POST", "status/start")
    await until(lambda: volume_is(kubernetes, state="attached", robustness="healthy"))


async def pods(client: KubernetesClient) -> list[dict[str, Any]]:
    return await client.list(PODS)


async def started(client: KubernetesClient, number: int) -> bool:
    """Whether so many pods have their volumes and run."""
    found = [
        pod
        for pod in await pods(client)
        if ANNOTATION in pod["metadata"].get("annotations", {})
        and pod["status"].get("phase") == "Running"
    ]
    return len(found) == number


async def volume_is(client: KubernetesClient, **expected: str) -> bool:
    found = [it.get("status", {}) for it in await client.list(f"{ALL}/volumes")]
    return bool(found) and all(status.items() >= expected.items() for status in found)


async def replicas_are(client: KubernetesClient, number: int) -> bool:
    return len(await client.list(f"{ALL}/replicas")) == number


async def is_released(client: KubernetesClient) -> bool:
    found = await client.list("/api/v1/persistentvolumes")
    return [it["status"].get("phase") for it in found] == ["Released"]


async def is_tainted(client: KubernetesClient, node: str) -> bool:
    found = await client.get(f"{NODES}/{node}") or {}
    taints = found["spec"].get("taints", [])
    return any((it["key"], it["effect"]) == (UNREACHABLE, "NoExecute") for it in taints)


def workload(name: str, **spec: Any) -> dict[str, Any]:
    """A Deployment or a DaemonSet with one pod."""
    containers = [{"name": "work", "image": "none"}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers} | spec}
    selector = {"matchLabels": {"app": name}}
    return {"metadata": {"name": name}, "spec": {"selector": selector, "template": template}}


def pod_spec(claim_name: str) -> dict[str, Any]:
    """A pod with a volume, which ends soon after it is asked to."""
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}
    return {
        "containers": [{"name": "work", "image": "none"}],
        "terminationGracePeriodSeconds": 1,
        "volumes": [volume],
    }


def claim(name: str) -> dict[str, Any]:
    """A claim of a volume of one gibibyte."""
    return {
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "longhorn",
        },
    }


def definition(plural: str, kind: str) -> dict[str, Any]:
    """The definition of one of Longhorn's types."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1beta2",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    return {
        "metadata": {"name": f"{plural}.longhorn.io"},
        "spec": {
            "group": "longhorn.io",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    }
