"""What the stack runs now, as far as the Pulumi state knows: the other side of every comparison.

``preflight/state.py`` reads it from the state. Empty for a stack that was never deployed, and in
commands that do not read the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from settings.node import Role


@dataclass(frozen=True, kw_only=True)
class RunningMachine:
    """A VM that the state has. A value that the state does not have is ``None``."""

    name: str
    """Name of the VM and of the Kubernetes node: ``castle-worker-3``."""
    role: Role | None = None
    host: str | None = None
    """The Proxmox node that it is on."""
    vm_id: int | None = None
    address: str | None = None
    cores: int | None = None
    memory_mib: int | None = None
    os_disk_gib: int | None = None
    data_disk_gib: int | None = None
    datastore: str | None = None
    """Storage of its OS disk."""
    pool: str | None = None
    """Resource pool that it was put into."""
    retains_data_disk: bool = False
    """Whether its data disk belongs to a disk holder VM, and outlives the machine."""
    talos: str | None = None
    """Talos version that its node was last brought to, with its leading v."""
    has_come_up: bool = False
    """Whether its node was ready in Kubernetes once, or may be a member of a cluster that runs.
    Until then every value can be corrected: the VM holds nothing, and is replaced if it cannot be
    changed."""


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """What the state has of one stack."""

    machines: Mapping[str, RunningMachine] = field(default_factory=dict)
    """By VM name."""
    talos: str | None = None
    """Talos version of the last upgrade that was started, or of the first deployment."""
    kubernetes: frozenset[str] = frozenset()
    """Kubernetes versions: of the last finished upgrade, and of the last one that was started."""
    charts: Mapping[str, str] = field(default_factory=dict)
    """Chart version by Helm release."""
    pool: str | None = None
    """The resource pool that this stack created."""
    has_machine_secrets: bool = False
    """Whether the cluster's certificate authorities exist."""
    is_bootstrapped: bool = False
    """Whether etcd was started."""
    restored_from: str | None = None
    """The snapshot that etcd was started with, as ``cluster.restore_from`` named it."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What the last successful ``up`` recorded (``lifecycle/deployment_record.py``)."""

    @property
    def has_come_up(self) -> bool:
        """Whether any node of the cluster was ready once."""
        return any(machine.has_come_up for machine in self.machines.values())

    @property
    def hosts(self) -> Mapping[str, str]:
        """By VM name: the Proxmox host that the VM is on."""
        return {name: it.host for name, it in self.machines.items() if it.host is not None}

    def machine_has_come_up(self, name: str) -> bool:
        """Whether the node of this name was ready once."""
        machine = self.machines.get(name)
        return machine is not None and machine.has_come_up
