"""Access of operations to a running cluster: Talos, the Kubernetes API and etcd."""

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
"""Annotation that Talos sets on a node: the schematic id of its Image Factory image."""
_ADDRESS_TABLE = "/proc/net/fib_trie"
"""File of the Linux kernel that lists all local addresses of a node, including the VIP."""


@dataclass(frozen=True)
class NodeStatus:
    """The status of a node as Kubernetes reports it."""

    boot_id: str
    """Changes with every boot."""
    talos: str
    """Running Talos version, as in ``v1.13.9``."""
    schematic: str | None
    """Id of the Image Factory schematic; ``None`` for an image from elsewhere."""
    is_ready: bool


@dataclass(frozen=True)
class Peer:
    """Name and address of a node."""

    name: str
    address: str


class Cluster:
    """Clients for a running cluster.

    ``props`` need ``cluster``, ``vip``, ``control_planes``, ``return_s`` and Talos credentials
    (``OperationContext`` and ``NodeLifecycleArgs.credentials`` in ``lifecycle/node.py``).
    """

    def __init__(self, props: Mapping[str, Any]) -> None:
        """Get a kubeconfig from the first control plane that answers. Raises ``OperationError``."""
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
            f"No control plane of {self.props['cluster']} gives a kubeconfig through the Talos "
            f"API: {'; '.join(refusals)}. Nothing has been touched. Start or repair a control "
            "plane, then run `up` again."
        )

    def node_status(self, name: str) -> NodeStatus | None:
        """The status of a node, ``None`` if Kubernetes has no such node. Raises ``ApiError``."""
        found = self._api_now.get(f"/api/v1/nodes/{name}")
        return None if found is None else parse_node_status(found)

    def take_snapshot(self) -> None:
        """Take a snapshot of etcd and store it in ``.state/etcd``."""
        snapshots.take_and_store(self.props, [member.address for member in self.etcd.members()])

    def take_snapshot_if_stale(self) -> None:
        """Take a snapshot of etcd, unless the last one is less than an hour old."""
        if not snapshots.is_fresh(self.props["cluster"]):
            self.take_snapshot()

    def other_unready_nodes(self, name: str) -> list[str]:
        """The names of all nodes except ``name`` that are not ready."""
        nodes = self.api.items("/api/v1/nodes")
        unready = [
            node["metadata"]["name"] for node in nodes if not parse_node_status(node).is_ready
        ]
        return [other for other in unready if other != name]

    def has_vip(self, peer: Peer) -> bool:
        """Whether the VIP is on this control plane now."""
        table = self.talos.run(peer.address, "read", _ADDRESS_TABLE)
        return f"|-- {self.props['vip']}\n" in table

    def wait_ready(self, name: str, failure: str, old_boot_id: str = "") -> NodeStatus:
        """Wait until a node is ready, in another boot than ``old_boot_id``.

        Raises ``OperationError`` after ``return_s`` seconds; its text begins with ``failure``.
        """

        def check() -> NodeStatus:
            try:
                status = self.node_status(name)
            except ApiError as error:
                raise NotYet(str(error)) from None
            if status is None:
                raise NotYet("Kubernetes has no node of this name")
            if status.boot_id == old_boot_id:
                raise NotYet("it has not rebooted yet")
            if not status.is_ready:
                raise NotYet("its kubelet is not ready")
            return status

        return wait_for(check, self.props["return_s"], failure)


def parse_node_status(node: Object) -> NodeStatus:
    """Read the status from a Kubernetes ``Node`` object."""
    info = node["status"].get("nodeInfo", {})
    conditions = node["status"].get("conditions", ())
    return NodeStatus(
        boot_id=info.get("bootID", ""),
        talos=info.get("osImage", "").removeprefix("Talos (").removesuffix(")"),
        schematic=node["metadata"].get("annotations", {}).get(_SCHEMATIC),
        is_ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
    )
