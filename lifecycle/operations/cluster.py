"""Clients of operations for a running cluster, and the upgrade of its Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi, KubernetesError, Object, RetryingApi
from clients.talos.errors import TalosError
from clients.talos.machine_api import MachineApi
from clients.talos.talosctl import Talosctl
from clients.tls import ClientCredentials
from clients.wait import NotYet, wait_for
from lifecycle.operations import snapshots
from lifecycle.operations.context import ClusterContext, Peer
from lifecycle.operations.etcd import Etcd

_SCHEMATIC = "extensions.talos.dev/schematic"
"""Annotation that Talos sets on a node: the schematic id of its Image Factory image."""
_ADDRESS_TABLE = "/proc/net/fib_trie"
"""File of the Linux kernel that lists all local addresses of a node, including the VIP."""
_UPGRADE_TIMEOUT_S = 3600
"""Seconds for an upgrade of Kubernetes, which takes some minutes per node."""


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


class Cluster:
    """Clients for Talos, Kubernetes and etcd of a running cluster."""

    def __init__(self, context: ClusterContext, credentials: ClientCredentials) -> None:
        """Get a kubeconfig from the first control plane that answers. Raises ``OperationError``.

        ``credentials`` are a Talos client.
        """
        self.context, self._credentials = context, credentials
        self.talos = Talosctl(credentials)
        kubeconfig = self._kubeconfig()
        self.api: ClusterApi = RetryingApi.of(kubeconfig)
        self._api_now = ClusterApi.of(kubeconfig)
        self.etcd = Etcd(MachineApi(credentials), [peer.address for peer in context.peers])

    def _kubeconfig(self) -> str:
        refusals = []
        for peer in self.context.peers:
            try:
                return self.talos.run(peer.address, "kubeconfig", "-", "--merge=false", limit=30)
            except TalosError as error:
                refusals.append(str(error))
        raise OperationError(
            f"No control plane of {self.context.cluster} gives a kubeconfig through the Talos "
            f"API: {'; '.join(refusals)}. Nothing has been touched. Start or repair a control "
            "plane, then run `up` again."
        )

    def node_status(self, name: str) -> NodeStatus | None:
        """The status of a node; ``None`` if it does not exist. Raises ``KubernetesError``."""
        found = self._api_now.get(f"/api/v1/nodes/{name}")
        return None if found is None else parse_node_status(found)

    def take_snapshot(self) -> None:
        """Take a snapshot of etcd and store it in ``.state/etcd``."""
        addresses = [member.address for member in self.etcd.members()]
        snapshots.take_and_store(self.context, self._credentials, addresses)

    def take_snapshot_if_stale(self) -> None:
        """Take a snapshot of etcd, unless the last one is less than an hour old."""
        if not snapshots.is_fresh(self.context.cluster):
            self.take_snapshot()

    def other_unready_nodes(self, name: str) -> list[str]:
        """The names of all nodes except ``name`` that are not ready."""
        nodes = self.api.items("/api/v1/nodes")
        unready = [
            node["metadata"]["name"] for node in nodes if not parse_node_status(node).is_ready
        ]
        return [other for other in unready if other != name]

    def has_address(self, peer: Peer, address: str) -> bool:
        """Whether a node has this address now, for example the VIP."""
        return f"|-- {address}\n" in self.talos.run(peer.address, "read", _ADDRESS_TABLE)

    def wait_ready(self, name: str, failure: str, old_boot_id: str = "") -> NodeStatus:
        """Wait until a node is ready, in another boot than ``old_boot_id``.

        Raises ``OperationError`` after ``return_s`` seconds; its text begins with ``failure``.
        """

        def check() -> NodeStatus:
            try:
                status = self.node_status(name)
            except KubernetesError as error:
                raise NotYet(str(error)) from None
            if status is None:
                raise NotYet("Kubernetes has no node of this name")
            if status.boot_id == old_boot_id:
                raise NotYet("it has not rebooted yet")
            if not status.is_ready:
                raise NotYet("its kubelet is not ready")
            return status

        return wait_for(check, self.context.return_s, failure)


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


def upgrade_kubernetes(cluster: Cluster, version: str) -> None:
    """Upgrade the control planes, then all kubelets, to ``version``, with its leading v.

    A dry run comes first. Components that have this version are skipped, so the next run continues
    an upgrade that was stopped. Raises ``OperationError``.
    """
    address = cluster.etcd.members()[0].address
    command = [
        "upgrade-k8s",
        *("--to", version.removeprefix("v")),
        # Otherwise talosctl adds comments, and the machine config differs from the one that the
        # Talos provider sends.
        *("--with-docs=false", "--with-examples=false"),
    ]
    try:
        cluster.talos.run(address, *command, "--dry-run", limit=_UPGRADE_TIMEOUT_S)
    except TalosError as error:
        raise OperationError(
            f"Kubernetes was not upgraded to {version}, because the dry run failed. Nothing has "
            f"been touched. {error}"
        ) from None
    try:
        cluster.talos.run(address, *command, limit=_UPGRADE_TIMEOUT_S)
    except TalosError as error:
        raise OperationError(
            f"The upgrade of Kubernetes to {version} stopped before its end. Run `up` again: it "
            f"continues from here. {error}"
        ) from None
