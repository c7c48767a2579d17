"""All settings of a stack, and what follows from them: machines, addresses, numbers of copies."""

from __future__ import annotations

from ipaddress import IPv4Address

import pyrage
from pydantic import StrictStr

from settings.backups import S3
from settings.base import Group
from settings.charts import Flux, Longhorn, MetalLB, Sops, Traefik, Whoami
from settings.groups import PROJECT, Cluster, Endpoint, Image, Network, Nodes, Proxmox, Timeouts
from settings.node import Node, Role
from settings.plan import default_replicas, plan_nodes
from settings.running import RunningStack


class Settings(Group):
    """All settings of one stack."""

    stack: StrictStr
    """The stack's name; not a key of the file."""
    encrypted: frozenset[str] = frozenset()
    """The groups in which something is encrypted; not a key of the file."""
    running: RunningStack = RunningStack()
    """What the stack runs now; not a key of the file. Empty if nobody has read the state."""
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
        """Identity of this castle: tags its machines, and begins the names of its files."""
        return f"{PROJECT}-{self.stack}".lower()

    def with_running(self, running: RunningStack) -> Settings:
        """These settings beside what the stack runs: its machines stay on their hosts."""
        return self.model_copy(update={"running": running})

    @property
    def machines(self) -> tuple[Node, ...]:
        """Every machine, control planes first, each with all that is known of it."""
        return plan_nodes(self.cluster, self.nodes, self.proxmox, self.running.hosts)

    @property
    def control_planes(self) -> tuple[Node, ...]:
        """The control planes, in order."""
        return tuple(node for node in self.machines if node.role is Role.CONTROL_PLANE)

    @property
    def workers(self) -> tuple[Node, ...]:
        """The workers, in order."""
        return tuple(node for node in self.machines if node.role is Role.WORKER)

    @property
    def nameservers(self) -> tuple[IPv4Address, ...]:
        """DNS servers of the nodes."""
        return self.network.nameservers or (self.network.gateway,)

    @property
    def age_recipient(self) -> str | None:
        """Whom the castle's own files are encrypted for: the public half of ``sops.age_key``."""
        if self.sops.age_key is None:
            return None
        return str(
            pyrage.x25519.Identity.from_str(self.sops.age_key.get_secret_value()).to_public()
        )

    @property
    def replicas(self) -> int:
        """Copies of each Longhorn volume."""
        return self.longhorn.replicas or default_replicas(self.machines)

    @property
    def ingress_address(self) -> IPv4Address:
        """Where the router forwards ports 80 and 443 to."""
        if self.traefik.exposure == "host-network":
            return self.cluster.vip
        return self.traefik.address or self.metallb.pool.first
