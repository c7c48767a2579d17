"""The running stack according to the Pulumi state.

``preflight/state.py`` creates it. It is empty for a stack that was never deployed, and in commands
that do not read the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from settings.node import Role


@dataclass(frozen=True, kw_only=True)
class RunningMachine:
    """A VM in the Pulumi state. Values that the state lacks are ``None``."""

    name: str
    """Name of the VM and of the Kubernetes node: ``castle-worker-3``."""
    role: Role | None = None
    host: str | None = None
    """Proxmox host of the VM."""
    vm_id: int | None = None
    address: str | None = None
    cores: int | None = None
    memory_mib: int | None = None
    os_disk_gib: int | None = None
    data_disk_gib: int | None = None
    datastore: str | None = None
    """Proxmox storage of the OS disk."""
    pool: str | None = None
    """Proxmox resource pool of the VM."""
    retains_data_disk: bool = False
    """Whether the data disk belongs to a disk holder VM, so that it is retained when this VM is
    deleted."""
    talos: str | None = None
    """Talos version that the node was last installed with or upgraded to, with a leading v."""
    has_come_up: bool = False
    """Whether the node was once ready in Kubernetes, or may be a member of a running cluster. If
    not, the VM holds no data, so every setting can change; if a setting cannot change in place, the
    VM is replaced."""


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """The running resources of one stack, without secrets."""

    machines: Mapping[str, RunningMachine] = field(default_factory=dict)
    """The VMs by name."""
    talos: str | None = None
    """Talos version of the last upgrade that was started; before any upgrade, that of the first
    deployment."""
    kubernetes: frozenset[str] = frozenset()
    """Kubernetes versions of the last finished upgrade and of the last started upgrade. They differ
    after an interrupted upgrade."""
    charts: Mapping[str, str] = field(default_factory=dict)
    """Chart versions by the name of the Helm release."""
    pool: str | None = None
    """Name of the Proxmox resource pool that this stack created."""
    has_resources: bool = False
    """Whether the state has any resource besides components and providers."""
    has_machine_secrets: bool = False
    """Whether the machine secrets of Talos exist, which contain the cluster's CAs."""
    is_bootstrapped: bool = False
    """Whether etcd was bootstrapped."""
    restored_from: str | None = None
    """Value of ``cluster.restore_from`` when etcd was bootstrapped from that snapshot."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The record of the last successful ``up`` (``lifecycle/deployment_record.py``)."""

    @property
    def has_come_up(self) -> bool:
        """Whether ``RunningMachine.has_come_up`` is true for any VM."""
        return any(vm.has_come_up for vm in self.machines.values())

    @property
    def names_by_vm_id(self) -> Mapping[int, str]:
        """Name of each VM, by VM id."""
        return {vm.vm_id: name for name, vm in self.machines.items() if vm.vm_id is not None}

    @property
    def hosts(self) -> Mapping[str, str]:
        """Proxmox host of each VM, by VM name."""
        return {name: vm.host for name, vm in self.machines.items() if vm.host is not None}

    def machine_has_come_up(self, name: str) -> bool:
        """``RunningMachine.has_come_up`` of the VM ``name``; false if there is no such VM."""
        vm = self.machines.get(name)
        return vm is not None and vm.has_come_up
