"""The data of a report. It contains no secret.

``--json`` prints these classes with the names of their fields as keys (docs/report.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from clients.kubernetes.longhorn import BackupTarget
from lifecycle.operations.storage_health import StorageProblem
from rehearsal.record import Refusal

SpanKind = Literal["router", "proxmox", "dhcp", "control-plane", "worker", "vip", "pool", "ingress"]


@dataclass(frozen=True, kw_only=True)
class Span:
    """Consecutive addresses with the same use."""

    kind: SpanKind
    name: str
    """The use of the addresses, or the nodes: ``VIP``, ``worker-1 to 3``."""
    detail: str
    """What else is known about the addresses, in a few words."""
    first: str
    last: str
    offset: int
    """Distance of the first address from the network's address."""
    count: int
    """Number of addresses."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network of the stack."""

    cidr: str
    first: str
    last: str
    size: int
    """Number of addresses in the network."""
    bridge: str
    vlan: int | None
    nameservers: tuple[str, ...]
    gateway: str
    vip: str
    ingress: str
    """The address to which the router forwards ports 80 and 443."""
    host: str
    """Public name of the demo site."""
    spans: tuple[Span, ...]
    """In the order of their first addresses; a span comes before the spans inside it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The VM of a node."""

    name: str
    role: str
    address: str
    vm_id: int
    cores: int
    memory_mib: int
    os_disk_gib: int
    data_disk_gib: int | None


@dataclass(frozen=True, kw_only=True)
class Host:
    """A Proxmox host with its VMs of the stack. The sizes are sums over these VMs."""

    name: str
    cores: int
    memory_mib: int
    disk_gib: int
    machines: tuple[Machine, ...]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Counts, and sums over all VMs of the stack."""

    hosts: int
    control_planes: int
    workers: int
    cores: int
    memory_mib: int
    disk_gib: int
    replicas: int
    """Number of copies of each Longhorn volume."""
    resources: int
    """Number of resources in the Pulumi state, with components and providers."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An operation on the timeline."""

    name: str
    component: str
    type: str
    operation: str
    """Pulumi's name of the operation: ``create``, ``update``, ``delete`` ..."""
    start: float
    """Seconds since the start of the ``up``."""
    end: float
    """Seconds since the start of the ``up``."""
    critical: bool
    """Whether the operation is on the critical path, which determines the total duration."""
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The operations of the last ``up``, or of the rehearsal with nominal times."""

    source: Literal["last up", "rehearsal"]
    begun: datetime | None
    """Start of the ``up``; None for a rehearsal."""
    succeeded: bool
    seconds: float
    """Duration in seconds."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class Version:
    """The version of a part, and the versions that fit the other parts."""

    name: str
    version: str
    fits: str
    """The versions that fit the current versions of the other parts."""
    newer: str
    """One sentence: which newer versions are possible."""
    source: str
    """Source of the statement about the versions that fit."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The name, the purpose and the dates of a certificate."""

    name: str
    opens: str
    """The purpose, in a few words."""
    begins: datetime
    ends: datetime
    days_left: int
    """Whole days from the report to the expiry; negative if the certificate has expired."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """The certificates of the stack, or the reason why none are known."""

    found: tuple[Certificate, ...]
    reason: str
    """The reason if ``found`` is empty; otherwise empty."""


@dataclass(frozen=True, kw_only=True)
class StorageNode:
    """The data disk of a node. Sizes are GiB."""

    name: str
    host: str
    """The Proxmox host that the node runs on."""
    data_disk_gib: int
    usable_gib: float
    """Space that volumes can use, according to the settings of Longhorn."""
    capacity_gib: float | None
    """Size of the disk's filesystem as Longhorn reported it; None without a record of the disk."""
    allocated_gib: float | None
    """Sum of the nominal sizes of all copies on the disk; None without a record of the disk."""
    used_gib: float | None
    """Used space of the disk's filesystem; None without a record of the disk."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A Longhorn volume at the time of the record."""

    name: str
    """Longhorn's name: ``pvc-…``."""
    claim: str
    """Namespace and name of the volume's claim; empty if the volume never had a claim."""
    use: Literal["attached", "detached", "released"]
    """``released``: its claim was deleted, but its data was not."""
    size_gib: float
    copies: int
    """Number of copies that the volume should have."""
    healthy_copies: int
    hosts: tuple[str, ...]
    """Proxmox hosts that hold a healthy copy."""
    engine_image: str
    has_current_engine: bool
    """Whether the volume runs the engine of the installed Longhorn."""
    last_backup: datetime | None
    backup_age: str
    """Age of the last backup at the time of the record: ``9 hours``; empty without a backup."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Data disks of the stack file, and Longhorn's objects at the time of the record."""

    recorded: datetime | None
    """Time of the record; None if there is no record."""
    nodes: tuple[StorageNode, ...]
    volumes: tuple[Volume, ...]
    """Sorted by claim."""
    target: BackupTarget | None
    """None if Longhorn has no backup target, or if there is no record."""
    problems: tuple[StorageProblem, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page shows."""

    stack: str
    cluster: str
    made: datetime
    """Time of the report."""
    totals: Totals
    network: Network
    hosts: tuple[Host, ...]
    storage: Storage
    timeline: Timeline
    versions: tuple[Version, ...]
    certificates: Certificates
    problems: tuple[Refusal, ...]
    notes: tuple[str, ...]
    """Warnings of the program in the rehearsal."""


def as_json(report: Report) -> dict[str, Any]:
    """Convert the report to JSON types, for ``--json`` and for the numbers of the page."""
    converted: dict[str, Any] = _convert(asdict(report))
    return converted


def _convert(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _convert(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_convert(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
