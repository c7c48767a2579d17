"""A planned node: its VM, its Talos node and its Kubernetes node."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any

OS_DISK, DATA_DISK = "scsi0", "scsi1"
"""Names of the two disks of a VM in Proxmox."""


class Role(StrEnum):
    """Role of a node. The value is also a part of its name and a tag of its VM."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A planned node. VM, Talos node and Kubernetes node share one name."""

    name: str
    """Name of the VM, the Talos node and the Kubernetes node: ``castle-worker-3``."""
    short_name: str
    """Name in ``nodes.overrides``: ``worker-3``."""
    role: Role
    address: IPv4Address
    vm_id: int
    host: str
    """Proxmox host of the VM."""
    cores: int
    memory_mib: int
    os_disk_gib: int
    data_disk_gib: int | None
    keep_data_disk_on_destroy: bool = False
    """Whether to retain the data disk if the VM is deleted."""
    patches: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """Machine config patches: those of the role, then those of ``nodes.overrides``."""
