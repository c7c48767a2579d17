"""What a report shows: plain data, with no secret in it and nothing of how it is drawn.

``--json`` prints it as it stands here, so the names are an interface (docs/report.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SpanKind = Literal["router", "proxmox", "dhcp", "control-plane", "worker", "vip", "pool", "ingress"]


@dataclass(frozen=True, kw_only=True)
class Span:
    """A run of addresses on the network's line, and whose they are."""

    kind: SpanKind
    name: str
    """Of the machine, or of the first and the last of several."""
    first: str
    last: str
    offset: int
    """Place of the first on the line: how far it is from the network's own address."""
    count: int
    """How many addresses."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network that the castle stands in."""

    cidr: str
    size: int
    """How many addresses it has."""
    bridge: str
    vlan: int | None
    nameservers: tuple[str, ...]
    gateway: str
    vip: str
    ingress: str
    """Where the router forwards ports 80 and 443 to."""
    host: str
    """Public name of the demo site."""
    spans: tuple[Span, ...]
    """By address; a range comes before what lies in it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One virtual machine."""

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
    """A Proxmox host, and what the castle asks of it."""

    name: str
    cores: int
    memory_mib: int
    disk_gib: int
    machines: tuple[Machine, ...]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The castle in a few numbers."""

    hosts: int
    control_planes: int
    workers: int
    cores: int
    memory_mib: int
    disk_gib: int
    replicas: int
    """Copies of each Longhorn volume."""
    resources: int
    """What the engine manages, components and providers among it."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources of one type within one component."""

    type: str
    """The engine's type, as in ``proxmoxve:index/vmLegacy:VmLegacy``."""
    names: tuple[str, ...]
    layer: int
    """How many steps lie before it within its component."""
    needs: tuple[str, ...]
    """Types within the component that must be there before."""
    critical: bool
    """Whether one of them is on the critical path of the timeline."""

    @property
    def kind(self) -> str:
        """The last word of the type: ``VmLegacy``."""
        return self.type.rpartition(":")[2]


@dataclass(frozen=True, kw_only=True)
class Component:
    """A component of the program, with what it makes."""

    name: str
    providers: tuple[str, ...]
    """Names of the providers that its resources go through."""
    layer: int
    """How many components lie before it."""
    needs: tuple[str, ...]
    """Components that must be there before; what follows from these is left out."""
    resources: tuple[Resources, ...]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One operation on the timeline."""

    name: str
    component: str
    type: str
    operation: str
    """The engine's word: ``create``, ``update``, ``delete`` ..."""
    start: float
    """Seconds from the beginning."""
    end: float
    critical: bool
    """Whether it lies on the path that decides how long the whole takes."""
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """When everything began and ended."""

    source: Literal["last up", "rehearsal"]
    begun: datetime | None
    """When the ``up`` began; a rehearsal has no such moment."""
    succeeded: bool
    seconds: float
    bars: tuple[Bar, ...]
    """By beginning."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """What runs in one version, and which others would fit to the rest."""

    name: str
    version: str
    fits: str
    """The versions that fit to the rest of the castle, as it is."""
    newer: str
    """One sentence: where one can go from here."""
    source: str
    """Where that is known from."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate of the cluster: a name and its dates, nothing else of it."""

    name: str
    opens: str
    """What it is for, in a few words."""
    begins: datetime
    ends: datetime
    days_left: int
    """Whole days from the making of the report; below 0 when it has ended."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """The certificates in the engine's state, or why there are none to show."""

    found: tuple[Certificate, ...]
    reason: str
    """Why there are none; empty where there are."""


@dataclass(frozen=True, kw_only=True)
class StorageNode:
    """The data disk of a node. Sizes are GiB."""

    name: str
    host: str
    """The Proxmox host that the node runs on."""
    data_disk_gib: int
    usable_gib: float
    """What volumes can use of it, by the settings of Longhorn."""
    capacity_gib: float | None
    """Size of its filesystem as Longhorn reported it; None if there is no record."""
    allocated_gib: float | None
    """Sum of the nominal sizes of the copies on it; None if there is no record."""
    used_gib: float | None
    """Space in use on its filesystem; None if there is no record."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A Longhorn volume, when the record was made."""

    name: str
    """Longhorn's name: ``pvc-…``."""
    claim: str
    """Namespace and name of its claim; empty if it had none."""
    use: Literal["attached", "detached", "released"]
    """``released``: its claim was deleted, and Longhorn keeps the data."""
    size_gib: float
    copies: int
    """How many copies are wanted."""
    healthy_copies: int
    hosts: tuple[str, ...]
    """Proxmox hosts that hold a healthy copy."""
    engine_image: str
    has_current_engine: bool
    """Whether its engine is that of the installed Longhorn."""
    last_backup: datetime | None
    backup_age: str
    """Age of the last backup when the record was made: ``9 hours``; empty if there is none."""


@dataclass(frozen=True, kw_only=True)
class BackupTarget:
    """Where Longhorn's backups go."""

    url: str
    is_available: bool
    reason: str
    """Longhorn's own message if it is not available."""


@dataclass(frozen=True, kw_only=True)
class StorageProblem:
    """Something that a person should see to."""

    severity: Literal["warning", "note"]
    subject: str
    text: str
    """The rest of a sentence after the subject."""
    fix: str


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Data disks of the stack file, and what Longhorn reported when the record was made."""

    recorded: datetime | None
    """When the record was made; None if there is none."""
    nodes: tuple[StorageNode, ...]
    volumes: tuple[Volume, ...]
    """By claim."""
    target: BackupTarget | None
    """None if Longhorn has no backup target, or if there is no record."""
    problems: tuple[StorageProblem, ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that would be refused."""

    resource: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is shown of one castle."""

    stack: str
    cluster: str
    made: datetime
    totals: Totals
    network: Network
    hosts: tuple[Host, ...]
    storage: Storage
    components: tuple[Component, ...]
    timeline: Timeline
    versions: tuple[Version, ...]
    certificates: Certificates
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """What the program warned of."""
