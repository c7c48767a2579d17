"""The typed inputs of operations on a running cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clients.tls import ClientCredentials
from settings.node import Role

if TYPE_CHECKING:
    from settings.groups import Endpoint
    from settings.models import Settings
    from settings.node import Node


def make_endpoint(url: str, token: str, *, insecure: bool) -> Endpoint:
    """Create a connection to the Proxmox API from the inputs of a resource."""
    # Imported here, because the settings models would slow down the start of every dynamic
    # provider.
    from pydantic import SecretStr

    from settings.groups import Endpoint

    return Endpoint(endpoint=url, apiToken=SecretStr(token), insecure=insecure)


@dataclass(frozen=True)
class Peer:
    """Name and address of a node."""

    name: str
    address: str

    @property
    def label(self) -> str:
        """The node in messages."""
        return f"{self.name} ({self.address})"


@dataclass(frozen=True, kw_only=True)
class ClusterContext:
    """A running cluster, for operations that concern all of it; not secret."""

    cluster: str
    """The stack tag; part of the file names of the lock and the snapshots."""
    talos: str
    """Talos version, with its leading v."""
    control_planes: str
    """``NAME=ADDRESS,...`` of all control planes."""
    return_s: int
    """Timeout in seconds until a node is ready again (``timeouts.return_s``)."""
    age_recipient: str | None = None
    """The age recipient of etcd snapshots; ``None`` writes them in plain text."""

    @property
    def peers(self) -> list[Peer]:
        """All control planes."""
        return [Peer(*entry.split("=", 1)) for entry in self.control_planes.split(",")]


@dataclass(frozen=True, kw_only=True)
class OperationContext(ClusterContext):
    """Inputs of operations on a node that are the same for all nodes; not secret."""

    vip: str
    """Virtual IP of the Kubernetes API."""
    proxmox_endpoint: str
    """URL of the Proxmox API, for power-cycles."""
    proxmox_insecure: bool
    """Whether to accept any certificate of Proxmox."""
    drain_s: int
    """Timeout of a drain in seconds (``timeouts.drain_s``)."""
    rebuild_s: int
    """Timeout in seconds for Longhorn to rebuild or move replicas (``timeouts.rebuild_s``)."""

    @classmethod
    def from_settings(cls, settings: Settings) -> OperationContext:
        """Create the context from the settings of a stack."""
        return cls(
            cluster=settings.stack_tag,
            vip=str(settings.cluster.vip),
            talos=settings.cluster.talos,
            control_planes=",".join(
                f"{node.name}={node.address}"
                for node in settings.machines
                if node.role is Role.CONTROL_PLANE
            ),
            age_recipient=settings.age_recipient,
            proxmox_endpoint=settings.proxmoxve.endpoint,
            proxmox_insecure=settings.proxmoxve.insecure,
            drain_s=settings.timeouts.drain_s,
            return_s=settings.timeouts.return_s,
            rebuild_s=settings.timeouts.rebuild_s,
        )


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A node and its VM as in the settings."""

    name: str
    address: str
    control_plane: bool
    """Whether it is a control plane; otherwise it is a worker."""
    host: str
    """The Proxmox node that has the VM."""
    vm_id: int
    cores: int
    memory_mib: int
    os_disk_gib: int
    data_disk_gib: int | None = None
    """``None`` if it has no data disk."""
    datastore: str
    """The Proxmox storage of the disks."""
    retains_data_disk: bool
    """Whether the data disk is not deleted with the VM (``keep_data_disk_on_destroy``)."""

    @classmethod
    def from_node(cls, node: Node, datastore: str) -> NodeSpec:
        """Create it from a node of the settings and the storage of its disks."""
        return cls(
            name=node.name,
            address=str(node.address),
            control_plane=node.role is Role.CONTROL_PLANE,
            host=node.host,
            vm_id=node.vm_id,
            cores=node.cores,
            memory_mib=node.memory_mib,
            os_disk_gib=node.os_disk_gib,
            data_disk_gib=node.data_disk_gib,
            datastore=datastore,
            retains_data_disk=node.keep_data_disk_on_destroy,
        )

    @property
    def peer(self) -> Peer:
        """Its name and address."""
        return Peer(self.name, self.address)


@dataclass(frozen=True, kw_only=True)
class NodeCredentials(ClientCredentials):
    """Secrets of operations on a node: a Talos client, and access to Kubernetes and Proxmox."""

    access: str
    """Kubeconfig (YAML)."""
    proxmox_token: str
    """API token of Proxmox."""


@dataclass(frozen=True, kw_only=True)
class NodeContext:
    """Everything that an operation on a node needs."""

    node: NodeSpec
    cluster: OperationContext
    credentials: NodeCredentials
    installer: str
    """The Talos install image."""
    patches: Sequence[str]
    """Config patches (YAML) for this node on top of ``configuration``."""
    configuration: str = ""
    """The base machine config of the node's role (YAML, secret). The state does not contain it, so
    it is empty when the node is deleted."""
