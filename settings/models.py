"""All settings of a stack, and values computed from them: VMs, addresses, number of copies."""

from __future__ import annotations

from ipaddress import IPv4Address

import pyrage
from pydantic import StrictStr

from settings.backups import S3
from settings.base import Group
from settings.charts import Flux, Longhorn, MetalLB, Sops, Traefik, Whoami
from settings.groups import (
    Cluster,
    Endpoint,
    Image,
    Network,
    Nodes,
    Proxmox,
    Timeouts,
    stack_tag,
)
from settings.node import Node, Role
from settings.plan import default_replicas, plan_nodes
from settings.running import RunningStack


class Settings(Group):
    """All settings of one stack."""

    stack: StrictStr
    """Name of the stack; not a key of the stack file."""
    encrypted: frozenset[str] = frozenset()
    """Names of the groups with an encrypted value; not a key of the stack file."""
    running: RunningStack = RunningStack()
    """The running stack; not a key of the stack file. Empty if the state was not read."""
    proxmoxve: Endpoint
    network: Network
    cluster: Cluster
    nodes: Nodes
    proxmox: Proxmox = Proxmox()
    image: Image = Image()
    longhorn: Longhorn = Longhorn()
    metallb: MetalLB
    traefik: Traefik
    whoami: Whoami
    flux: Flux | None = None
    sops: Sops = Sops()
    s3: S3 | None = None
    timeouts: Timeouts = Timeouts()

    @property
    def stack_tag(self) -> str:
        """The stack's tag: tag of its VMs in Proxmox, and prefix of its file names."""
        return stack_tag(self.stack)

    def with_running(self, running: RunningStack) -> Settings:
        """A copy of the settings with this running stack, which determines the hosts of VMs."""
        return self.model_copy(update={"running": running})

    @property
    def machines(self) -> tuple[Node, ...]:
        """All planned nodes, control planes first."""
        return plan_nodes(self.cluster, self.nodes, self.proxmox, self.running.hosts)

    @property
    def control_planes(self) -> tuple[Node, ...]:
        """The control planes, by number."""
        return tuple(node for node in self.machines if node.role is Role.CONTROL_PLANE)

    @property
    def workers(self) -> tuple[Node, ...]:
        """The workers, by number."""
        return tuple(node for node in self.machines if node.role is Role.WORKER)

    @property
    def nameservers(self) -> tuple[IPv4Address, ...]:
        """DNS servers of the nodes: ``network.nameservers``, or the gateway."""
        return self.network.nameservers or (self.network.gateway,)

    @property
    def age_recipient(self) -> str | None:
        """The age recipient (public key) of ``sops.age_key``; None without that key."""
        if self.sops.age_key is None:
            return None
        return str(
            pyrage.x25519.Identity.from_str(self.sops.age_key.get_secret_value()).to_public()
        )

    @property
    def replicas(self) -> int:
        """Number of copies of each Longhorn volume."""
        return self.longhorn.replicas or default_replicas(self.machines)

    @property
    def ingress_address(self) -> IPv4Address:
        """Address of Traefik, to which the router forwards ports 80 and 443."""
        if self.traefik.exposure == "host-network":
            return self.cluster.vip
        return self.traefik.address or self.metallb.pool.first
