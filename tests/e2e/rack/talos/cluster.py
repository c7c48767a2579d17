"""What the machines with one certificate authority are together."""

from __future__ import annotations

import dataclasses
import urllib.parse
import uuid
import zlib
from collections.abc import Callable

from .config import MachineConfig
from .machine import Machine


@dataclasses.dataclass(frozen=True, kw_only=True)
class EtcdMember:
    """A member of etcd; it stays one while it has no power."""

    vmid: int
    hostname: str
    address: str

    @property
    def id(self) -> int:
        """Its number."""
        return zlib.crc32(self.address.encode())


@dataclasses.dataclass(kw_only=True)
class TalosCluster:
    """The etcd of a cluster."""

    is_up: Callable[[int], bool]
    """Tells whether a VM has power and etcd's data."""
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    """Another one for each bootstrap, even with the same secrets."""
    snapshot: bytes = b""
    """What its etcd began with; empty for a new one."""
    members: dict[int, EtcdMember] = dataclasses.field(default_factory=dict)
    holder: int | None = None
    """Who carried the shared address last."""

    @property
    def has_quorum(self) -> bool:
        """Whether etcd was bootstrapped and more than half of its members run."""
        return 2 * sum(map(self.is_up, self.members)) > len(self.members)

    def add(self, machine: Machine) -> None:
        """Make a machine a member, if it is none."""
        machine.installation.has_etcd_data = True
        vmid = machine.guest.vmid
        self.members[vmid] = EtcdMember(
            vmid=vmid, hostname=machine.hostname, address=machine.address
        )

    def remove(self, machine: Machine) -> None:
        """Let a machine leave."""
        machine.installation.has_left = True
        machine.installation.has_etcd_data = False
        self.members.pop(machine.guest.vmid, None)

    def vip_holder(self) -> int | None:
        """The VM that carries the shared address: it keeps it until it goes down."""
        if self.holder is None or self.holder not in self.members or not self.is_up(self.holder):
            self.holder = next(filter(self.is_up, self.members), None)
        return self.holder


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiveCluster:
    """A cluster whose etcd works, and its machines that have power."""

    id: str
    snapshot: bytes
    machines: list[Machine]

    @property
    def config(self) -> MachineConfig:
        """The configuration of one of its control planes."""
        return next(m.config for m in self.machines if m.config and m.is_control_plane)

    def require_endpoint(self) -> None:
        """Fail unless the Kubernetes endpoint is an address that a control plane answers at."""
        host = urllib.parse.urlsplit(self.config.endpoint).hostname
        addresses = [m.address for m in self.machines if m.is_control_plane] + self.config.vips
        if host not in addresses:
            raise EndpointError(f"{self.config.endpoint} is none of {', '.join(addresses)}")


class EndpointError(Exception):
    """Nothing listens at the Kubernetes endpoint of a cluster."""
