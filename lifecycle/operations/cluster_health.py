"""A living cluster, as upkeep reaches it: by Talos, by the Kubernetes API, and by etcd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clients.errors import OperationError
from clients.kubernetes.api import ApiError, ClusterApi, Object
from clients.kubernetes.patient_api import PatientApi
from clients.talos.talosctl import Talosctl, TalosctlError
from clients.wait import NotYet, wait_for
from lifecycle.operations import snapshots
from lifecycle.operations.etcd import Etcd

_SCHEMATIC = "extensions.talos.dev/schematic"
"""Annotation that Talos gives a node whose image came from an Image Factory."""
_ADDRESSES = "/proc/net/fib_trie"
"""Where a node's kernel writes which addresses are its own, a shared one included."""


@dataclass(frozen=True)
class NodeStatus:
    """What Kubernetes tells of a node."""

    boot_id: str
    talos: str
    schematic: str | None
    is_ready: bool


@dataclass(frozen=True)
class Peer:
    """A node by its name and address."""

    name: str
    address: str


class Cluster:
    """The ways into a living cluster."""

    def __init__(self, props: Mapping[str, Any]) -> None:
        """Find a control plane that hands out a kubeconfig; raises ``OperationError``."""
        self.props = props
        self.control_planes = [
            Peer(*entry.split("=", 1)) for entry in props["control_planes"].split(",")
        ]
        self.talos = Talosctl(props)
        kubeconfig = self._kubeconfig()
        self.api: ClusterApi = PatientApi.of(kubeconfig)
        self._api_now = ClusterApi.of(kubeconfig)
        self.etcd = Etcd(self.talos, [peer.address for peer in self.control_planes])

    def _kubeconfig(self) -> str:
        refusals = []
        for peer in self.control_planes:
            try:
                return self.talos.run(peer.address, "kubeconfig", "-", "--merge=false", limit=30)
            except TalosctlError as error:
                refusals.append(str(error))
        raise OperationError(
            f"No control plane of {self.props['cluster']} answers: {'; '.join(refusals)}. Nothing "
            "has been touched. Bring one back and run `up` again."
        )

    def seen(self, name: str) -> NodeStatus | None:
        """What Kubernetes tells of a node; None where it knows no such node."""
        found = self._api_now.get(f"/api/v1/nodes/{name}")
        return None if found is None else look_of(found)

    def snapshot(self) -> None:
        """Keep a snapshot of etcd."""
        snapshots.renew(self.props, [member.address for member in self.etcd.members()])

    def snapshot_if_stale(self) -> None:
        """Keep a snapshot of etcd, unless there is one of the last hour."""
        if not snapshots.is_fresh(self.props["cluster"]):
            self.snapshot()

    def others_away(self, name: str) -> list[str]:
        """The nodes beside one that are not ready."""
        nodes = self.api.items("/api/v1/nodes")
        away = [node["metadata"]["name"] for node in nodes if not look_of(node).is_ready]
        return [other for other in away if other != name]

    def carries_vip(self, peer: Peer) -> bool:
        """Whether a control plane has the cluster's shared address."""
        table = self.talos.run(peer.address, "read", _ADDRESSES)
        return f"|-- {self.props['vip']}\n" in table

    def wait_ready(self, name: str, what: str, not_boot: str = "") -> NodeStatus:
        """Wait until a node is ready, in another boot than ``not_boot``."""

        def look() -> NodeStatus:
            try:
                seen = self.seen(name)
            except ApiError as error:
                raise NotYet(str(error)) from None
            if seen is None:
                raise NotYet("Kubernetes does not know it")
            if seen.boot_id == not_boot:
                raise NotYet("it has not booted yet")
            if not seen.is_ready:
                raise NotYet("its kubelet is not ready")
            return seen

        return wait_for(look, self.props["return_s"], what)


def look_of(node: Object) -> NodeStatus:
    """What a node's object in Kubernetes tells."""
    info = node["status"].get("nodeInfo", {})
    conditions = node["status"].get("conditions", ())
    return NodeStatus(
        boot_id=info.get("bootID", ""),
        talos=info.get("osImage", "").removeprefix("Talos (").removesuffix(")"),
        schematic=node["metadata"].get("annotations", {}).get(_SCHEMATIC),
        is_ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
    )
