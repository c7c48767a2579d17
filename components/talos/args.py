"""Arguments of the component ``TalosCluster``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import pulumi

from lifecycle.node import MachineState
from lifecycle.operations.context import OperationContext
from lifecycle.restore import Restore
from settings.models import Settings
from settings.node import Node
from settings.running import RunningStack


@dataclass(frozen=True, kw_only=True)
class ClusterFindings:
    """Results of the preflight checks about the cluster."""

    restore: Restore | None = None
    """The snapshot from which a new cluster is restored; ``None`` if it is not restored."""
    machine_states: dict[str, MachineState] = field(default_factory=dict)
    """By node name: the state of its VM. A hook sets it to ``created`` if Pulumi creates the VM in
    this run."""


@dataclass(frozen=True, kw_only=True)
class TalosClusterArgs:
    """Arguments of ``TalosCluster``."""

    cluster_name: str
    """Name of the cluster in kubeconfig and talosconfig."""
    talos_version: str
    """Talos version, with its leading v."""
    kubernetes_version: str
    """Kubernetes version, with its leading v."""
    vip: IPv4Address
    """Virtual IP of the Kubernetes API, on control planes only."""
    nodes: Sequence[Node]
    """The nodes, control planes first."""
    vms: Mapping[str, pulumi.CustomResource]
    """The VMs by node name. A machine config is sent after its VM was created."""
    datastore: str
    """Storage of the VMs' disks. It cannot change for a VM that has come up."""
    installer: pulumi.Input[str]
    """Install image for the machine configs and for upgrades."""
    cidr: IPv4Network
    """Network of the nodes."""
    gateway: IPv4Address
    """Address of the router."""
    nameservers: Sequence[IPv4Address]
    """Addresses of the DNS servers."""
    restore: Restore | None
    """The snapshot from which the cluster is restored; ``None`` if it is not restored."""
    ntp: Sequence[str]
    """Time servers; if empty, Talos uses its default."""
    registry_mirrors: Mapping[str, Sequence[str]]
    """By registry: URLs of mirrors that Talos tries first."""
    secret_patches: bool
    """Whether a patch of a node contains a value that is encrypted in the stack file."""
    machine_states: Mapping[str, MachineState]
    """By node name: the state of its VM. Hooks change it while Pulumi creates VMs."""
    context: OperationContext
    """Values that operations on running nodes need: cluster, control planes, timeouts."""
    proxmox_token: str
    """API token of Proxmox (secret)."""
    running: RunningStack
    """What the stack runs. Nodes that never came up are not upgraded."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        installer: pulumi.Input[str],
        vms: Mapping[str, pulumi.CustomResource],
        findings: ClusterFindings,
    ) -> TalosClusterArgs:
        """Create the arguments from the settings, the other components and the preflight checks."""
        return cls(
            cluster_name=settings.cluster.name,
            talos_version=settings.cluster.talos,
            kubernetes_version=settings.cluster.kubernetes,
            vip=settings.cluster.vip,
            nodes=settings.machines,
            vms=vms,
            datastore=settings.proxmox.disk_datastore,
            installer=installer,
            cidr=settings.network.cidr,
            gateway=settings.network.gateway,
            nameservers=settings.nameservers,
            restore=findings.restore,
            ntp=settings.cluster.ntp,
            registry_mirrors=settings.cluster.registry_mirrors,
            secret_patches="nodes" in settings.encrypted,
            machine_states=findings.machine_states,
            context=OperationContext.from_settings(settings),
            proxmox_token=settings.proxmoxve.api_token.get_secret_value(),
            running=settings.running,
        )
