"""All Talos machines of the rack: the guests of its VMs."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from ..certificates import CertificateAuthority
from ..faults import Faults
from ..proxmox.guests import Guest, GuestError
from ..request_log import RequestLog
from .api import MachineApi
from .cluster import LiveCluster, TalosCluster
from .config import MachineConfig
from .hand import Hand
from .machine import RESET_EVENT, Installation, Machine, boot_image
from .server import MachineServer

PORT = 50000
_AGENT = "siderolabs/qemu-guest-agent"
_MAINTENANCE_GRACE = 0.5
"""Seconds in which the answer to the first configuration can still leave the machine."""
_REBOOT_GRACE = 0.2
"""Seconds in which the answer to the call can still leave the machine."""
_RESET_GRACE = 0.5
"""Seconds: a reset may arrive before the call that listens to its events (C1)."""


class TalosSimulator:
    """Boots a machine at the static address of each VM that starts from a Talos image."""

    def __init__(
        self,
        *,
        directory: Path,
        requests: RequestLog,
        faults: Faults,
        extensions_of: Callable[[str], Sequence[str]],
        on_power_off: Callable[[int], None],
    ) -> None:
        self.on_change: Callable[[], None] = _do_nothing
        """Called after anything that Kubernetes could notice."""
        self._directory = directory
        self._requests = requests
        self._faults = faults
        self._extensions_of = extensions_of
        self._on_power_off = on_power_off
        self._servers: dict[int, MachineServer] = {}
        self._installations: dict[int, Installation] = {}
        self._clusters: dict[bytes, TalosCluster] = {}
        self.hand = Hand()
        """What a test orders, and what it can look up."""
        self._background: set[asyncio.Task[None]] = set()

    @property
    def machines(self) -> dict[str, Machine]:
        """The machines that have power, by their addresses."""
        return {s.machine.address: s.machine for s in self._servers.values()}

    @property
    def reboot_s(self) -> float:
        """Seconds that a machine is away when it reboots."""
        return self.hand.reboot_s

    def is_deaf(self, vmid: int) -> bool:
        """Whether a machine does not shut down when Proxmox asks it to."""
        server = self._servers.get(vmid)
        return server is not None and server.machine.address in self.hand.deaf

    @property
    def cluster_ids(self) -> set[str]:
        """The clusters whose etcd has data on some disk."""
        return {cluster.id for cluster in self._clusters.values()}

    def live_clusters(self) -> list[LiveCluster]:
        """List the clusters whose etcd has a majority of its members."""
        return [
            LiveCluster(
                snapshot=cluster.snapshot,
                id=cluster.id,
                machines=[
                    machine
                    for machine in self.machines.values()
                    if machine.config
                    and machine.is_synchronized
                    and machine.config.machine_ca.certificate == authority
                ],
            )
            for authority, cluster in self._clusters.items()
            if cluster.has_quorum
        ]

    async def stop(self) -> None:
        """Cut the power of all machines."""
        for task in self._background:
            task.cancel()
        for vmid in list(self._servers):
            await self.power_off(vmid)

    async def power_on(self, guest: Guest) -> None:
        """Boot Talos, if that is what is on the boot disk."""
        if not boot_image(guest):
            return  # another operating system, which has nothing to say here
        if guest.address in self.hand.stays_down:
            return
        self._require_address(guest)
        installation = self._installations.setdefault(guest.vmid, Installation())
        installation.boot()
        installation.partitions.provision(installation.config, guest, boots=True)
        machine = Machine(guest, installation, self._extensions_of, self.hand)
        server = MachineServer(
            machine,
            handlers=MachineApi(machine, self, self._requests, self._faults).handlers(),
            authority=lambda: self._authority(machine),
            directory=self._directory,
        )
        try:
            await server.start(PORT)
        except OSError as error:
            await server.stop()
            raise GuestError(f"cannot take the address {guest.address}: {error.strerror}") from None
        self._servers[guest.vmid] = server
        self.hand.note("up", guest.address)
        self._settle()

    async def power_off(self, vmid: int) -> None:
        """Let a machine disappear; what is on its disk stays."""
        if server := self._servers.pop(vmid, None):
            self.hand.note("down", server.machine.address)
            await server.stop()
            self.on_change()

    async def cut(self, machine: Machine) -> None:
        """Cut all connections to a machine."""
        if server := self._servers.get(machine.guest.vmid):
            await server.cut()

    def replug(self, guest: Guest) -> None:
        """Show a machine the disks that it has now; all else stays as it was when it booted."""
        if server := self._servers.get(guest.vmid):
            machine = server.machine
            machine.guest = dataclasses.replace(machine.guest, disks=guest.disks)

    async def discard(self, vmid: int) -> None:
        """Forget what is on a machine's disk."""
        self._installations.pop(vmid, None)
        self._settle()

    def agent_addresses(self, vmid: int) -> Sequence[str] | None:
        """Return what the guest agent reports once it runs.

        It is an extension, and in maintenance mode extensions do not run (siderolabs/talos#11651).
        A loopback address alone would let the provider wait on, hence the second one from
        TEST-NET-1.
        """
        server = self._servers.get(vmid)
        if server is None or not server.machine.config or _AGENT not in server.machine.extensions:
            return None
        return [server.machine.address, f"192.0.2.{vmid % 254 + 1}"]

    def cluster_of(self, config: MachineConfig) -> TalosCluster:
        """Find the cluster that a configuration belongs to, by its certificate authority."""
        return self._clusters.setdefault(
            config.machine_ca.certificate, TalosCluster(is_up=self._is_etcd_up)
        )

    def taken_addresses(self, machine: Machine, config: MachineConfig) -> dict[str, str]:
        """Name the owners of all addresses that a configuration of this machine must not use."""
        taken: dict[str, str] = {}
        for other in self.machines.values():
            if other is machine:
                continue
            taken[other.address] = other.hostname
            if other.config and not other.config.shares_authority_with(config):
                owner = f"the cluster {other.config.cluster_name}"
                taken |= dict.fromkeys(other.config.vips, owner)
        return taken

    async def configure(self, machine: Machine, config: MachineConfig) -> None:
        """Let a machine live with a configuration from now on."""
        was_in_maintenance = machine.config is None
        machine.installation.config = config
        machine.installation.partitions.provision(config, machine.guest, boots=False)
        if was_in_maintenance:
            self._later(_MAINTENANCE_GRACE, self._servers[machine.guest.vmid].leave_maintenance)
        self._settle()

    async def bootstrap(self, machine: Machine, config: MachineConfig, snapshot: bytes) -> None:
        """Start etcd on its first member, with what is in a snapshot if there is one.

        As in Talos, the answer does not wait for etcd: a reboot while its image is pulled loses the
        request, and each further request begins anew.
        """
        machine.bootstraps += 1
        number = machine.bootstraps

        async def start() -> None:
            is_latest = machine in self.machines.values() and machine.bootstraps == number
            if is_latest and not machine.installation.has_etcd_data:
                cluster = self.cluster_of(config)
                cluster.snapshot = snapshot
                cluster.add(machine)
                self._settle()

        if self.hand.etcd_pull_s:
            self._later(self.hand.etcd_pull_s, start)
        else:
            await start()

    def reset(self, machine: Machine, actor: str, *, graceful: bool, reboot: bool) -> None:
        """Wipe a machine a moment later, so that the caller can listen to its events first."""

        async def reset() -> None:
            if graceful and machine.config:
                self.cluster_of(machine.config).remove(machine)
            await machine.emit(RESET_EVENT, actor)
            await asyncio.sleep(_RESET_GRACE)
            machine.installation.wipe()
            self._settle()
            if machine not in self.machines.values():
                return  # its VM was stopped or deleted in the meantime
            await self.power_off(machine.guest.vmid)
            if reboot:
                await self.power_on(machine.guest)
            else:
                self._on_power_off(machine.guest.vmid)

        self._later(_RESET_GRACE, reset)

    def install(self, machine: Machine, installer: str) -> None:
        """Put another Talos on a machine's disk, for its next boot."""
        machine.installation.pending_installer = installer

    def reboot(self, machine: Machine) -> None:
        """Let a machine go down a moment later, and come back after another."""

        async def reboot() -> None:
            if machine not in self.machines.values():
                return  # its VM was stopped in the meantime
            await self.power_off(machine.guest.vmid)
            await asyncio.sleep(self.hand.reboot_s)
            if machine.guest.vmid not in self._servers:
                await self.power_on(machine.guest)

        self._later(_REBOOT_GRACE, reboot)

    def leave(self, machine: Machine) -> None:
        """Take a machine out of etcd."""
        if machine.config:
            self.cluster_of(machine.config).remove(machine)
            self._settle()

    def remove_member(self, cluster: TalosCluster, number: int) -> None:
        """Take a member out of etcd that cannot say so itself."""
        for vmid, member in list(cluster.members.items()):
            if member.id == number:
                del cluster.members[vmid]
                installation = self._installations.get(vmid)
                if installation and installation.has_etcd_data:
                    installation.has_etcd_data, installation.has_left = False, True
        self._settle()

    def _settle(self) -> None:
        """Forget clusters without data, and let control planes join those whose etcd works."""
        with_data = {vmid for vmid, i in self._installations.items() if i.has_etcd_data}
        for authority, cluster in list(self._clusters.items()):
            if not with_data & cluster.members.keys():
                del self._clusters[authority]
        for machine in self.machines.values():
            left = machine.installation.has_left
            if machine.config and machine.is_control_plane and machine.is_synchronized and not left:
                cluster = self.cluster_of(machine.config)
                # A member without its data stays out until somebody removes it (Talos' addMember).
                if cluster.has_quorum and machine.guest.vmid not in cluster.members:
                    cluster.add(machine)
        self.on_change()

    def _is_etcd_up(self, vmid: int) -> bool:
        server = self._servers.get(vmid)
        return (
            server is not None
            and server.machine.is_synchronized
            and server.machine.installation.has_etcd_data
        )

    def _require_address(self, guest: Guest) -> None:
        if not guest.address:
            raise GuestError("no static address in ipconfig0, and the rack has no DHCP")
        if not ipaddress.ip_address(guest.address).is_loopback:
            raise GuestError(f"{guest.address} is no loopback address, the rack has no other")
        if other := self.machines.get(guest.address):
            raise GuestError(f"address {guest.address} is already in use by {other.guest.name}")

    def _authority(self, machine: Machine) -> CertificateAuthority | None:
        """Find the key that signs a machine's certificate.

        A worker has none; it gets its certificate from a control plane.
        """
        for candidate in [machine, *self.machines.values()]:
            if candidate.config is None or machine.config is None:
                continue
            pair = candidate.config.machine_ca
            if pair.key and candidate.config.shares_authority_with(machine.config):
                return CertificateAuthority.load(pair.certificate, pair.key)
        return None

    def _later(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await work()

        task = asyncio.create_task(wait())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _do_nothing() -> None:
    pass
