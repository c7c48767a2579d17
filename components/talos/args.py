"""What the cluster is asked to be: everything of the settings that it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import pulumi

from lifecycle.node import MachineState, OperationContext
from lifecycle.restore import Restore
from settings.models import Settings
from settings.node import Node
from settings.running import RunningStack


@dataclass(frozen=True, kw_only=True)
class ClusterFindings:
    """What the checks before a run found out about the cluster."""

    restore: Restore | None = None
    """What a new cluster is restored from; ``None`` if it is not restored."""
    machine_states: dict[str, MachineState] = field(default_factory=dict)
    """By node name: the state of its VM. A hook sets it to ``created`` if the engine creates the VM
    in this run."""


@dataclass(frozen=True, kw_only=True)
class TalosClusterArgs:
    """What cluster to make, of which machines."""

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
    machines: Mapping[str, pulumi.CustomResource]
    """The machine of each node, by name: a config is sent once its machine runs."""
    datastore: str
    """Storage of the machines' disks, which no machine that lives can change."""
    installer: pulumi.Input[str]
    """The install image, which an upgrade uses."""
    cidr: IPv4Network
    """The network of the nodes."""
    gateway: IPv4Address
    """The router."""
    nameservers: Sequence[IPv4Address]
    """DNS servers."""
    restore: Restore | None
    """What it is restored from, if it is."""
    ntp: Sequence[str]
    """Time servers; none for Talos' own."""
    registry_mirrors: Mapping[str, Sequence[str]]
    """By registry: where its images are looked for first."""
    secret_patches: bool
    """Whether the nodes' own patches hold something that is encrypted in the stack file."""
    machine_states: Mapping[str, MachineState]
    """By node: the state of its machine. It changes while the engine creates machines."""
    context: OperationContext
    """What operations on running nodes need to know of the cluster."""
    proxmox_token: str
    """Proxmox' API token (secret)."""
    running: RunningStack
    """What the stack runs: nothing is upgraded that has never come up."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        installer: pulumi.Input[str],
        machines: Mapping[str, pulumi.CustomResource],
        findings: ClusterFindings,
    ) -> TalosClusterArgs:
        """The cluster that a stack asks for."""
        return cls(
            cluster_name=settings.cluster.name,
            talos_version=settings.cluster.talos,
            kubernetes_version=settings.cluster.kubernetes,
            vip=settings.cluster.vip,
            nodes=settings.machines,
            machines=machines,
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
