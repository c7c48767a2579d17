"""The groups of settings that describe machines, network, cluster and Proxmox.

Every field says its unit, its default and where a limit comes from. Rules that look at more than
one field live in ``rules``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
)

from settings.base import Group
from settings.storage import LEAST_DATA_DISK_GIB
from settings.values import (
    CONTROL_PLANE_CORES,
    CONTROL_PLANE_MIB,
    LONGEST_NAME,
    MACHINE_NAME,
    MOST_MIB,
    Address,
    DnsLabel,
    Extension,
    KernelArgument,
    Mirrors,
    Network4,
    Patches,
    ProxmoxName,
    Range,
    SecureUrl,
    SnapshotFile,
    TimeServer,
    Token,
    Url,
    Version,
    Whole,
    different,
    odd,
)

PROJECT = "ephemeral-castle"
"""The project's name: the namespace of its settings in a stack file."""

DataDisk = Annotated[Whole, Field(ge=LEAST_DATA_DISK_GIB)]
"""Size of a data disk in GiB."""


class Network(Group):
    """The home network that the castle stands in."""

    cidr: Network4
    """The IPv4 network of the house, as in ``192.168.1.0/24``."""
    gateway: Address
    """The router's address."""
    nameservers: tuple[Address, ...] = ()
    """DNS servers of the nodes; the gateway where none is given."""
    dhcp: Range | None = None
    """What the router hands out by DHCP; nothing of the castle may lie in it."""
    bridge: ProxmoxName = "vmbr0"
    """The Proxmox bridge that the machines are plugged into."""
    vlan: Annotated[Whole, Field(ge=1, le=4094)] | None = None
    """VLAN tag of the machines' network device; none by default."""


class Cluster(Group):
    """The Talos cluster."""

    name: Annotated[DnsLabel, Field(max_length=LONGEST_NAME)] = "castle"
    """Name of the cluster, and the first part of every machine's name, which has 63 at most."""
    # renovate: datasource=github-releases depName=siderolabs/talos
    talos: Version = "v1.13.9"
    """Talos version, with its leading v."""
    # renovate: datasource=github-releases depName=kubernetes/kubernetes
    kubernetes: Version = "v1.36.3"
    """Kubernetes version, with its leading v."""
    vip: Address
    """Virtual IP of the Kubernetes API; the control planes carry it by election."""
    restore_from: SnapshotFile | None = None
    """Snapshot that a new castle begins with, as ``make snapshot`` encrypts it; a path from the
    project's folder. A castle that lives cannot be restored; there the file may be gone."""
    ntp: tuple[TimeServer, ...] = ()
    """Time servers of the nodes; Talos' own, time.cloudflare.com, where none is given."""
    registry_mirrors: Mirrors = Field(default={})
    """By registry (``docker.io``): addresses where its images are looked for first."""


class Machine(Group):
    """What every machine of one role has, unless ``nodes.overrides`` says otherwise."""

    os_disk_gib: Annotated[Whole, Field(ge=10)] = 34
    """Size of the OS disk in GiB; Talos asks for at least 10."""
    keep_data_disk_on_destroy: StrictBool = False
    """Whether the data disk outlives its machine, and the next machine of its name gets it."""
    patches: Patches = ()
    """Strategic merge patches of the machine config; what the castle sets itself is refused."""


class ControlPlanes(Machine):
    """The control planes: etcd and the Kubernetes API."""

    count: Annotated[Whole, AfterValidator(odd), Field(json_schema_extra={"enum": [1, 3, 5]})] = 1
    """How many: 1, 3 or 5, because etcd needs a majority to live."""
    first_address: Address
    """Address of the first one; the others follow it, one by one."""
    cores: Annotated[Whole, Field(ge=CONTROL_PLANE_CORES, le=512)] = 2
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=CONTROL_PLANE_MIB, le=MOST_MIB)] = 4096
    """Memory in MiB; a little above the least that Talos' health check lets pass."""
    data_disk_gib: DataDisk | None = None
    """Size of the data disk in GiB; none by default: control planes store nothing."""


class Workers(Machine):
    """The workers: they run what the house runs, and carry Longhorn's disks."""

    count: Annotated[Whole, Field(ge=0, le=250)] = 3
    """How many; with 0 the control planes do the work."""
    first_address: Address | None = None
    """Address of the first one; needed with ``count`` above 0."""
    cores: Annotated[Whole, Field(ge=1, le=512)] = 4
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=1024, le=MOST_MIB)] = 8192
    """Memory in MiB; a little above the least that Talos' health check lets pass."""
    data_disk_gib: DataDisk | None = 43
    """Size of the data disk in GiB; ``null`` for workers that store nothing."""


class Override(Group):
    """What one machine has that differs from its role; only the keys given count."""

    address: Address | None = None
    """Its address, in place of its turn in the run."""
    vm_id: Annotated[Whole, Field(ge=100, le=999_999_999)] | None = None
    """Its VM id in Proxmox."""
    host: ProxmoxName | None = None
    """The Proxmox node that it runs on; another one migrates it."""
    cores: Annotated[Whole, Field(ge=1, le=512)] | None = None
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=1024, le=MOST_MIB)] | None = None
    """Memory in MiB."""
    os_disk_gib: Annotated[Whole, Field(ge=10)] | None = None
    """Size of the OS disk in GiB."""
    data_disk_gib: DataDisk | None = None
    """Size of the data disk in GiB; ``null`` for none."""
    keep_data_disk_on_destroy: StrictBool | None = None
    """Whether its data disk outlives it."""
    patches: Patches | None = None
    """Patches of its machine config, after those of its role."""


class Nodes(Group):
    """The machines."""

    control_planes: ControlPlanes
    workers: Workers = Workers(count=0)
    overrides: Annotated[
        dict[str, Override],
        BeforeValidator(lambda it: it or {}),
        Field(json_schema_extra={"propertyNames": {"pattern": f"^{MACHINE_NAME.pattern}$"}}),
    ] = Field(default={})
    """By short name: ``worker-3``, ``control-plane-1``."""


class Proxmox(Group):
    """Where the machines live."""

    hosts: Annotated[
        tuple[ProxmoxName, ...],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(different),
    ] = ("pve",)
    """Proxmox nodes that new machines are spread over, control planes apart; a machine that exists
    stays on its host."""
    image_datastore: ProxmoxName = "local"
    """Storage with content type ``import``, on each host."""
    disk_datastore: ProxmoxName = "local-lvm"
    """Storage with content type ``images``, on each host."""
    first_vm_id: Annotated[Whole, Field(ge=100, le=999_999_000)] = 8000
    """Id of the first control plane; the workers begin 10 higher."""
    pool: ProxmoxName | None = None
    """Resource pool that is made for the machines, and goes with them; none by default."""


class Image(Group):
    """The Talos image."""

    factory: Url = "https://factory.talos.dev"
    """The Image Factory."""
    extensions: tuple[Extension, ...] = ()
    """Official system extensions beside the three that the castle needs."""
    kernel_arguments: tuple[KernelArgument, ...] = ()
    """Extra arguments of the kernel; one that begins with a hyphen takes Talos' own away."""


class Timeouts(Group):
    """How long the steps of an upgrade, a power-cycle or a removal may take, each for one node."""

    drain_s: Annotated[Whole, Field(ge=5, le=86400)] = 600
    """Seconds that the pods of a node have to go elsewhere."""
    return_s: Annotated[Whole, Field(ge=10, le=86400)] = 900
    """Seconds that a node has to come back and be ready."""
    rebuild_s: Annotated[Whole, Field(ge=5, le=86400)] = 3600
    """Seconds that Longhorn has to rebuild or move the replicas of a node."""


class Endpoint(Group):
    """How Proxmox is reached: keys of the ``proxmoxve:`` namespace."""

    endpoint: SecureUrl
    """Address of the Proxmox API: ``https://192.168.1.10:8006/``."""
    api_token: Token = Field(alias="apiToken")
    """Token of the API, ``USER@REALM!NAME=SECRET``; only by ``pulumi config set --secret``."""
    insecure: StrictBool = False
    """Accept Proxmox' self-signed certificate."""

    @property
    def token_id(self) -> str:
        """``USER@REALM!NAME``: the half of the token that is no secret."""
        return self.api_token.get_secret_value().partition("=")[0]
