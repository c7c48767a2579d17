"""The control plane of a bootstrapped cluster, with the real programs where they are at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rack.kubernetes.client import KubernetesClient
from tests.e2e.rack.rack import Rack
from tests.e2e.rack.talos.messages import talos

from .control_plane import NODES, PROGRAMS, administrator, ready, until
from .machine_configs import VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient
from .talos_client import Apply, Connect

CONTROL_PLANE, WORKER = "127.77.4.11", "127.77.4.21"
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="no Kubernetes programs")


@pytest.fixture
async def rack() -> AsyncIterator[Rack]:
    """A rack that can run Kubernetes."""
    async with Rack(["pve"], kubernetes=PROGRAMS) as rack:
        yield rack


@pytest.fixture
async def kubernetes(
    proxmox: ProxmoxClient,
    connect: Connect,
    apply: Apply,
    secrets: ClusterSecrets,
    tmp_path: Path,
) -> AsyncIterator[KubernetesClient]:
    """A client of a cluster of two machines."""
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await proxmox.boot_machine(201, WORKER)
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP))
    await apply(WORKER, secrets.config("worker", "worker1"))
    async with connect(CONTROL_PLANE) as machine:
        await machine.call("Bootstrap", talos.BootstrapRequest())
    async with administrator(secrets, tmp_path) as client:
        yield client


async def test_a_cluster_from_bootstrap_to_a_power_cut(
    rack: Rack, proxmox: ProxmoxClient, kubernetes: KubernetesClient
) -> None:
    await until(ready(kubernetes, cp1="True", worker1="True"))
    nodes = {node["metadata"]["name"]: node for node in await kubernetes.list(NODES)}
    assert "node-role.kubernetes.io/control-plane" in nodes["cp1"]["metadata"]["labels"]
    assert nodes["worker1"]["status"]["addresses"][0]["address"] == WORKER

    await proxmox.vm(201, "POST", "status/stop")
    await until(ready(kubernetes, cp1="True", worker1="Unknown"))
    await proxmox.vm(201, "POST", "status/start")
    await until(ready(kubernetes, cp1="True", worker1="True"))

    await kubernetes.create("/api/v1/namespaces", {"metadata": {"name": "kept"}})
    await proxmox.vm(101, "POST", "status/stop")
    await until(lambda: _not(kubernetes.is_ready()))
    await proxmox.vm(101, "POST", "status/start")
    await until(kubernetes.is_ready)
    assert await kubernetes.get("/api/v1/namespaces/kept")


async def test_services_get_addresses_of_a_pool_and_claims_get_volumes(
    kubernetes: KubernetesClient,
) -> None:
    await kubernetes.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _pool_definition()
    )
    pools = "/apis/metallb.io/v1beta1/namespaces/default/ipaddresspools"
    await until(lambda: kubernetes.get(pools))
    pool = {"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool"}
    await kubernetes.create(
        pools, pool | {"metadata": {"name": "p"}, "spec": {"addresses": ["192.0.2.1-192.0.2.2"]}}
    )
    services = "/api/v1/namespaces/default/services"
    for name, address in (("asks", "192.0.2.1"), ("outside", "192.0.2.9"), ("any", "")):
        await kubernetes.create(services, _load_balancer(name, address))
    await until(lambda: _address(kubernetes, f"{services}/any"))
    assert await _address(kubernetes, f"{services}/asks") == "192.0.2.1"
    assert await _address(kubernetes, f"{services}/any") == "192.0.2.2"
    assert await _address(kubernetes, f"{services}/outside") is None

    storage_class = {"metadata": {"name": "longhorn"}, "provisioner": "driver.longhorn.io"}
    config = {"metadata": {"name": "longhorn-storageclass"}, "data": {"storageclass.yaml": "{}"}}
    await kubernetes.create("/api/v1/namespaces", {"metadata": {"name": "longhorn-system"}})
    await kubernetes.create("/api/v1/namespaces/longhorn-system/configmaps", config)
    await kubernetes.create("/apis/storage.k8s.io/v1/storageclasses", storage_class)
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    await kubernetes.create(claims, _claim("data"))
    await until(lambda: _is_bound(kubernetes, f"{claims}/data"))
    await kubernetes.delete(f"{claims}/data")
    await until(lambda: _not(kubernetes.list("/api/v1/persistentvolumes")))


async def test_a_job_ends_as_its_chart_says(kubernetes: KubernetesClient) -> None:
    await until(ready(kubernetes, cp1="True", worker1="True"))
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    for name, said in (("succeeds", {}), ("fails", {"rack.simulated/fails": "true"})):
        await kubernetes.create(jobs, _job(name, said))
    await until(lambda: _has_ended(kubernetes, f"{jobs}/succeeds", "Complete"))
    await until(lambda: _has_ended(kubernetes, f"{jobs}/fails", "Failed"))


async def test_no_api_server_at_an_endpoint_that_nobody_has(
    rack: Rack,
    proxmox: ProxmoxClient,
    connect: Connect,
    apply: Apply,
    secrets: ClusterSecrets,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await proxmox.boot_machine(101, CONTROL_PLANE)
    typo = "https://127.77.0.251:6443"
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP, endpoint=typo))
    async with connect(CONTROL_PLANE) as client:
        await client.call("Bootstrap", talos.BootstrapRequest())
    await until(lambda: _contains(caplog, f"{typo} is none of {CONTROL_PLANE}, {VIP}"))


async def _not(value: Awaitable[Any]) -> bool:
    return not await value


async def _contains(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


async def _address(client: KubernetesClient, path: str) -> str | None:
    service = await client.get(path) or {}
    ingress = service["status"]["loadBalancer"].get("ingress")
    return str(ingress[0]["ip"]) if ingress else None


async def _is_bound(client: KubernetesClient, path: str) -> bool:
    claim = await client.get(path) or {}
    return bool(claim["status"].get("phase") == "Bound")


async def _has_ended(client: KubernetesClient, path: str, how: str) -> bool:
    job = await client.get(path) or {}
    conditions = job["status"].get("conditions", [])
    return any(c["type"] == how and c["status"] == "True" for c in conditions)


def _job(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    containers = [{"name": "work", "image": "none"}]
    return {
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"restartPolicy": "Never", "containers": containers},
            },
        },
    }


def _load_balancer(name: str, address: str) -> dict[str, Any]:
    annotations = {"metallb.io/loadBalancerIPs": address} if address else {}
    return {
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}},
    }


def _claim(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "longhorn",
        },
    }


def _pool_definition() -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True}
    return {
        "metadata": {"name": "ipaddresspools.metallb.io"},
        "spec": {
            "group": "metallb.io",
            "names": {"kind": "IPAddressPool", "plural": "ipaddresspools"},
            "scope": "Namespaced",
            "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
        },
    }
