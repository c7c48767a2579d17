"""A fake Kubernetes API and a fake etcd for tests of operations; both record the requests."""

from __future__ import annotations

from typing import Any

from clients.kubernetes.api import ClusterApi, KubernetesError
from clients.talos import protobuf
from clients.talos.errors import TalosError
from clients.talos.machine_api import MachineApi
from lifecycle.operations.context import (
    NodeContext,
    NodeCredentials,
    NodeSpec,
    OperationContext,
)
from lifecycle.operations.etcd import Etcd
from lifecycle.provider import parse

LONGHORN = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system"


class FakeCluster(ClusterApi):
    """An API that holds objects by path; the path of an object begins with that of its list."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = objects
        self.refusals: dict[str, KubernetesError] = {}
        """The error that answers a POST, by path."""
        self.posted: list[str] = []
        self.bodies: dict[str, Any] = {}
        """The body of the last POST, by path."""

    def get(self, path: str) -> Any:
        return self.objects.get(path)

    def items(self, path: str) -> Any:
        base = path.partition("?")[0]
        return [it for key, it in self.objects.items() if key.rpartition("/")[0] == base]

    def merge(self, path: str, change: Any) -> None:
        _merge(self.objects[path], change)

    def post(self, path: str, body: Any) -> None:
        self.posted.append(path)
        self.bodies[path] = body
        if path in self.refusals:
            raise self.refusals[path]
        pod = path.removesuffix("/eviction").rpartition("/")[2]
        self.objects.pop(f"/api/v1/pods/{pod}", None)

    def delete(self, path: str, **_: Any) -> None:
        self.objects.pop(path, None)


def _merge(target: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def node(name: str) -> dict[str, Any]:
    """A Kubernetes node, by its path."""
    return {f"/api/v1/nodes/{name}": {"metadata": {"name": name}, "spec": {}}}


def pod(name: str, namespace: str = "whoami", controller: str = "ReplicaSet") -> dict[str, Any]:
    """A pod with a controller of this kind, by its path."""
    owners = [{"kind": controller, "controller": True}]
    metadata = {"name": name, "namespace": namespace, "ownerReferences": owners}
    return {f"/api/v1/pods/{name}": {"metadata": metadata, "status": {"phase": "Running"}}}


def volume(name: str, copies: int, *healthy: str, failed: tuple[str, ...] = ()) -> dict[str, Any]:
    """A volume that wants ``copies`` replicas, with its replicas on these nodes, by path."""
    objects: dict[str, Any] = {
        f"{LONGHORN}/volumes/{name}": {
            "metadata": {"name": name},
            "spec": {"numberOfReplicas": copies},
            "status": {"kubernetesStatus": {"namespace": "traefik", "pvcName": f"{name}-claim"}},
        }
    }
    for node_name in (*healthy, *failed):
        objects[f"{LONGHORN}/replicas/{name}-{node_name}"] = {
            "metadata": {"name": f"{name}-{node_name}"},
            "spec": {
                "volumeName": name,
                "nodeID": node_name,
                "healthyAt": "2026-11-21T10:00:00Z",
                "failedAt": "2026-11-21T11:00:00Z" if node_name in failed else "",
            },
        }
    return objects


def node_context(**changes: Any) -> NodeContext:
    """The context of an operation on a worker. ``changes`` are fields of any of its parts."""
    values = CONTEXT | changes
    return NodeContext(
        node=parse(NodeSpec, values),
        cluster=parse(OperationContext, values),
        credentials=parse(NodeCredentials, values),
        installer=values["installer"],
        patches=values["patches"],
        configuration=values["configuration"],
    )


CONTEXT: dict[str, Any] = {
    "cluster": "a-test",
    "talos": "v1.13.9",
    "installer": "factory/nocloud-installer/abc:v1.13.9",
    "name": "castle-worker-1",
    "address": "192.168.1.155",
    "control_plane": False,
    "control_planes": "castle-control-plane-1=192.168.1.253",
    "access": "a kubeconfig",
    "drain_s": 0,
    "return_s": 0,
    "rebuild_s": 0,
    "configuration": "machine: {kubelet: {image: 'kubelet:v1.36.9'}}\n",
    "patches": ["machine: {env: {A: new}}\n", "debug: true\n"],
    "proxmox_endpoint": "https://192.168.1.10:8006",
    "proxmox_insecure": False,
    "proxmox_token": "castle@pve!pulumi=11111111-2222-3333-4444-555555555555",
    "host": "pve",
    "vm_id": 8010,
}


class FakeMachineApi(MachineApi):
    """A Talos API that reports these members of etcd; ``unhealthy`` ones do not answer."""

    def __init__(
        self, *names: str, unhealthy: tuple[str, ...] = (), unstarted: tuple[str, ...] = ()
    ) -> None:
        """``unstarted`` are the names of members that were added but never started."""
        self.unstarted = unstarted
        self.addresses = {name: f"10.0.0.{number}" for number, name in enumerate(names, start=1)}
        self.unhealthy = [self.addresses[name] for name in unhealthy]
        self.alarms: dict[str, bytes] = {}
        """Answers to a question for alarms, by address."""
        self.errors: dict[str, str] = {}
        """The error that a member reports, by address."""
        self.calls: list[tuple[str, str, bytes]] = []
        """Address, procedure and message of each call."""

    def call(self, address: str, procedure: str, message: bytes = b"") -> bytes:
        self.calls.append((address, procedure, message))
        if address in self.unhealthy:
            raise TalosError(procedure, address, "etcdserver: no leader", 14)
        if procedure == "EtcdMemberList":
            members = b"".join(
                protobuf.field(
                    3,
                    protobuf.number_field(2, number)
                    + (b"" if name in self.unstarted else protobuf.field(3, name.encode()))
                    + protobuf.field(4, f"https://{peer}:2380".encode()),
                )
                for number, (name, peer) in enumerate(self.addresses.items(), start=1)
            )
            return protobuf.field(1, members)
        if procedure == "EtcdStatus":
            error = self.errors.get(address, "")
            status = protobuf.number_field(10, 1)
            status += protobuf.field(8, error.encode()) if error else b""
            return protobuf.field(1, protobuf.field(2, status))
        return self.alarms.get(address, b"")


def etcd(*names: str, unhealthy: tuple[str, ...] = (), unstarted: tuple[str, ...] = ()) -> Etcd:
    """An etcd with these members."""
    api = FakeMachineApi(*names, unhealthy=unhealthy, unstarted=unstarted)
    return Etcd(api, api.addresses.values())
