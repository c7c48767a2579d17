"""Settings groups for VMs, network, cluster, image and Proxmox.

Rules that compare several settings are in ``rules``.
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
    check_odd,
    check_unique,
)

PROJECT = "ephemeral-castle"
"""Pulumi project name, which is also the namespace of the settings in a stack file."""


def stack_tag(stack: str) -> str:
    """The tag of a stack: tag of its VMs in Proxmox, and prefix of its file names."""
    return f"{PROJECT}-{stack}".lower()


DataDisk = Annotated[Whole, Field(ge=LEAST_DATA_DISK_GIB)]
"""Size of a data disk in GiB."""


class Network(Group):
    """The network of the nodes."""

    cidr: Network4
    """IPv4 network of the nodes, such as ``192.168.1.0/24``."""
    gateway: Address
    """IPv4 address of the router."""
    nameservers: tuple[Address, ...] = ()
    """DNS servers of the nodes. Default: the gateway."""
    dhcp: Range | None = None
    """DHCP range of the router, ``FIRST-LAST``. Nodes, VIP and MetalLB pool must be outside."""
    bridge: ProxmoxName = "vmbr0"
    """Proxmox bridge of the VMs' network devices."""
    vlan: Annotated[Whole, Field(ge=1, le=4094)] | None = None
    """VLAN tag of the VMs' network devices, 1 to 4094. Default: no tag."""


class Cluster(Group):
    """The Talos cluster."""

    name: Annotated[DnsLabel, Field(max_length=LONGEST_NAME)] = "castle"
    """Name of the cluster and prefix of every VM name. At most 47 characters."""
    # renovate: datasource=github-releases depName=siderolabs/talos
    talos: Version = "v1.13.9"
    """Talos version, with a leading v."""
    # renovate: datasource=github-releases depName=kubernetes/kubernetes
    kubernetes: Version = "v1.36.3"
    """Kubernetes version, with a leading v."""
    vip: Address
    """Virtual IP of the Kubernetes API. One control plane at a time holds it."""
    restore_from: SnapshotFile | None = None
    """Encrypted snapshot (``FILE.db.age`` of ``make snapshot``) from which a new cluster is
    restored; the path is relative to the project folder. A running cluster cannot be restored, and
    does not need the file any more."""
    ntp: tuple[TimeServer, ...] = ()
    """Time servers of the nodes: addresses or names. Default: Talos' default,
    time.cloudflare.com."""
    registry_mirrors: Mirrors = Field(default={})
    """By registry (``docker.io``, or ``*`` for all others): URLs of mirrors, which nodes try before
    the registry."""


class Machine(Group):
    """Settings of all nodes of one role. ``nodes.overrides`` changes them for one node."""

    os_disk_gib: Annotated[Whole, Field(ge=10)] = 34
    """Size of the OS disk in GiB. Talos needs at least 10."""
    keep_data_disk_on_destroy: StrictBool = False
    """Whether to retain the data disk if the VM is deleted. The next VM with the same name gets the
    disk."""
    patches: Patches = ()
    """Strategic merge patches for the Talos machine config. Patches of values that this program
    sets are refused."""


class ControlPlanes(Machine):
    """The control plane nodes: etcd and the Kubernetes API."""

    count: Annotated[
        Whole, AfterValidator(check_odd), Field(json_schema_extra={"enum": [1, 3, 5]})
    ] = 1
    """Number of control planes: 1, 3 or 5, because etcd needs a majority."""
    first_address: Address
    """IPv4 address of the first control plane; the others get the addresses after it."""
    cores: Annotated[Whole, Field(ge=CONTROL_PLANE_CORES, le=512)] = 2
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=CONTROL_PLANE_MIB, le=MOST_MIB)] = 4096
    """Memory in MiB, at least 2048."""
    data_disk_gib: DataDisk | None = None
    """Size in GiB of the data disk for Longhorn. Default: no data disk."""


class Workers(Machine):
    """The worker nodes. By default they have the data disks for Longhorn."""

    count: Annotated[Whole, Field(ge=0, le=250)] = 3
    """Number of workers. With 0, the control planes run all pods."""
    first_address: Address | None = None
    """IPv4 address of the first worker; the others get the addresses after it. Required if
    ``count`` is above 0."""
    cores: Annotated[Whole, Field(ge=1, le=512)] = 4
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=1024, le=MOST_MIB)] = 8192
    """Memory in MiB, at least 1024."""
    data_disk_gib: DataDisk | None = 43
    """Size in GiB of the data disk for Longhorn; ``null`` for no data disk."""


class Override(Group):
    """Settings of one node. Keys that are not set keep the value of the node's role."""

    address: Address | None = None
    """IPv4 address of the node."""
    vm_id: Annotated[Whole, Field(ge=100, le=999_999_999)] | None = None
    """VM id in Proxmox."""
    host: ProxmoxName | None = None
    """Proxmox host of the VM. If you change it, Proxmox migrates the VM."""
    cores: Annotated[Whole, Field(ge=1, le=512)] | None = None
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=1024, le=MOST_MIB)] | None = None
    """Memory in MiB."""
    os_disk_gib: Annotated[Whole, Field(ge=10)] | None = None
    """Size of the OS disk in GiB."""
    data_disk_gib: DataDisk | None = None
    """Size in GiB of the data disk for Longhorn; ``null`` for no data disk."""
    keep_data_disk_on_destroy: StrictBool | None = None
    """Whether to retain the data disk if the VM is deleted."""
    patches: Patches | None = None
    """Patches for the Talos machine config, applied after those of the role."""


class Nodes(Group):
    """The nodes of the cluster; each is one VM."""

    control_planes: ControlPlanes
    workers: Workers = Workers(count=0)
    overrides: Annotated[
        dict[str, Override],
        BeforeValidator(lambda it: it or {}),
        Field(json_schema_extra={"propertyNames": {"pattern": f"^{MACHINE_NAME.pattern}$"}}),
    ] = Field(default={})
    """Settings of single nodes, by short name: ``worker-3``, ``control-plane-1``."""


class Proxmox(Group):
    """Hosts, storages and ids of the VMs in Proxmox."""

    hosts: Annotated[
        tuple[ProxmoxName, ...],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(check_unique),
    ] = ("pve",)
    """Proxmox hosts for new VMs. A new VM goes to the host with the fewest VMs of its role; an
    existing VM stays on its host."""
    image_datastore: ProxmoxName = "local"
    """Storage with content type ``import``, on each host."""
    disk_datastore: ProxmoxName = "local-lvm"
    """Storage with content type ``images``, on each host."""
    first_vm_id: Annotated[Whole, Field(ge=100, le=999_999_000)] = 8000
    """VM id of the first control plane. The workers' ids start 10 higher."""
    pool: ProxmoxName | None = None
    """Name of the Proxmox resource pool to create for the VMs; ``make down`` deletes it. Default:
    no pool."""


class Image(Group):
    """The Talos image."""

    factory: Url = "https://factory.talos.dev"
    """URL of the Talos Image Factory."""
    extensions: tuple[Extension, ...] = ()
    """Official Talos system extensions, in addition to iscsi-tools, qemu-guest-agent and
    util-linux-tools."""
    kernel_arguments: tuple[KernelArgument, ...] = ()
    """Extra kernel arguments. A leading hyphen removes a default argument of Talos."""


class Timeouts(Group):
    """Time limits, per node, of an upgrade, a power cycle or a removal."""

    drain_s: Annotated[Whole, Field(ge=5, le=86400)] = 600
    """Seconds until all pods have left a drained node."""
    return_s: Annotated[Whole, Field(ge=10, le=86400)] = 900
    """Seconds until a node is back and ready."""
    rebuild_s: Annotated[Whole, Field(ge=5, le=86400)] = 3600
    """Seconds until Longhorn has rebuilt or moved the replicas of a node."""


class Endpoint(Group):
    """Connection to the Proxmox API: the keys of the namespace ``proxmoxve:``."""

    endpoint: SecureUrl
    """URL of the Proxmox API: ``https://192.168.1.10:8006/``."""
    api_token: Token = Field(alias="apiToken")
    """Proxmox API token, ``USER@REALM!NAME=SECRET``; set it with ``make token`` or ``pulumi config
    set --secret``."""
    insecure: StrictBool = False
    """Whether to accept a self-signed certificate of the Proxmox API."""

    @property
    def token_id(self) -> str:
        """``USER@REALM!NAME``: the part of the token that is not secret."""
        return self.api_token.get_secret_value().partition("=")[0]
