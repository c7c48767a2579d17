"""One machine of the plan: its VM, its Talos node and its Kubernetes node."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any


class Role(StrEnum):
    """What a machine is in the cluster."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine: its virtual machine, its Talos config and its Kubernetes node, by one name."""

    name: str
    """Name of the VM, the host and the Kubernetes node: ``castle-worker-3``."""
    short_name: str
    """The name within the stack file: ``worker-3``."""
    role: Role
    address: IPv4Address
    vm_id: int
    host: str
    """The Proxmox node that it runs on."""
    cores: int
    memory_mib: int
    os_disk_gib: int
    data_disk_gib: int | None
    keep_data_disk_on_destroy: bool = False
    """Whether the data disk outlives the machine."""
    patches: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """Patches of its machine config: those of its role, then its own."""
