"""One Talos machine: what is on its disk, and what it does with it while it has power."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

from ..proxmox.guests import Guest
from .config import MachineConfig
from .hand import Hand
from .mounts import Filesystem, Partitions

RESET_EVENT = "stopAllServices"
"""The task that the provider waits for after it has asked for a reset."""

_VERSION = re.compile(r"/(v\d+\.\d+\.\d+[^/]*)/")
_UNKNOWN_VERSION = "v0.0.0"
_SERVICES = ("apid", "containerd", "cri", "kubelet", "machined", "udevd")
_CONTROL_PLANE_SERVICES = ("etcd", "trustd")
_WAITING_FOR_TIME = ("etcd", "kubelet", "trustd")
"""The services that do not start before the clock is synchronized."""


@dataclasses.dataclass(kw_only=True)
class Installation:
    """What outlives a loss of power."""

    config: MachineConfig | None = None
    staged: MachineConfig | None = None
    """A configuration for the next boot."""
    has_etcd_data: bool = False
    has_left: bool = False
    """Whether its etcd has left the cluster, and so stays out until the next boot."""
    recovery: bytes = b""
    """A snapshot of etcd that waits for a bootstrap."""
    installer: str = ""
    """The image of the last upgrade; empty while the disk is as it was imported."""
    pending_installer: str = ""
    """An upgrade that the next boot brings up."""
    partitions: Partitions = dataclasses.field(default_factory=Partitions)
    """EPHEMERAL and the user volumes."""

    def boot(self) -> None:
        """Take up what was staged."""
        self.config, self.staged = self.staged or self.config, None
        self.installer, self.pending_installer = self.pending_installer or self.installer, ""
        self.has_left = False

    def wipe(self) -> None:
        """Forget all of it, as a reset does with STATE and EPHEMERAL."""
        self.config = self.staged = None
        self.has_etcd_data = False
        self.recovery = b""
        self.partitions.wipe()


@dataclasses.dataclass(frozen=True)
class Service:
    """A system service as ``talosctl services`` shows it."""

    id: str
    state: str
    healthy: bool
    message: str = ""
    """Its last event."""


def boot_image(guest: Guest) -> str:
    """Where the image came from that a guest's boot disk was made of."""
    return next((disk.image_url for disk in guest.disks if disk.is_boot_disk), "")


class Machine:
    """A machine that has power."""

    def __init__(
        self,
        guest: Guest,
        installation: Installation,
        extensions_of: Callable[[str], Sequence[str]],
        hand: Hand | None = None,
    ) -> None:
        self.guest = guest
        self._hand = hand or Hand()
        self._booted = time.monotonic()
        self.installation = installation
        self.extensions = tuple(extensions_of(self.image_url))
        self.boot_id = str(uuid.uuid4())
        self.is_registered = False
        """Whether its kubelet has made its node: it does that once in each boot."""
        self.log: list[str] = []
        """The lines of its kernel's log, as ``talosctl dmesg`` shows them."""
        self.bootstraps = 0
        """How often this boot was asked to bootstrap; a reboot forgets it."""
        self.lease_renewed = 0.0
        """When its kubelet renewed the lease of its node, in seconds since 1970."""
        self._events: list[tuple[str, str]] = []
        self._changed = asyncio.Condition()

    def __repr__(self) -> str:
        return f"<Machine {self.hostname} at {self.address}, {self.stage}>"

    @property
    def address(self) -> str:
        """Where its API is."""
        return self.guest.address

    @property
    def config(self) -> MachineConfig | None:
        """Its configuration, None in maintenance mode."""
        return self.installation.config

    @property
    def is_synchronized(self) -> bool:
        """Whether a time server answers it."""
        return self.address not in self._hand.unsynchronized

    @property
    def has_runtime(self) -> bool:
        """Whether its container runtime runs, which needs its configuration."""
        has_booted = time.monotonic() - self._booted >= self._hand.runtime_s
        return self.config is not None and has_booted

    @property
    def hostname(self) -> str:
        """Its name; in maintenance the VM's name, from its cloud-init drive."""
        name = self.config.hostname if self.config else self.guest.name
        return name or f"talos-{self.address.replace('.', '-')}"

    @property
    def stage(self) -> str:
        """``maintenance`` or ``running``."""
        return "running" if self.config else "maintenance"

    @property
    def is_control_plane(self) -> bool:
        """Whether it is configured to be one."""
        return self.config is not None and self.config.is_control_plane

    @property
    def version(self) -> str:
        """The version of Talos on its disk."""
        match = _VERSION.search(self.image_url)
        return match[1] if match else _UNKNOWN_VERSION

    @property
    def schematic(self) -> str:
        """The schematic of Talos on its disk."""
        return self.image_url.split("/")[-3]

    @property
    def image_url(self) -> str:
        """Where the factory has the image of what is on its disk."""
        if self.installation.installer:
            name, _, version = self.installation.installer.rpartition(":")
            return f"http://{name.replace('/nocloud-installer/', '/image/')}/{version}/installed"
        return boot_image(self.guest)

    @property
    def mounts(self) -> list[Filesystem]:
        """The filesystems in the host's mount namespace; pods see no others."""
        return self.installation.partitions.mounts(self.config, self.guest)

    @property
    def services(self) -> list[Service]:
        """Its services; etcd waits until it is bootstrapped or has joined."""
        if self.config is None:
            return [Service(name, "Running", True) for name in ("apid", "containerd", "machined")]
        names = _SERVICES + (_CONTROL_PLANE_SERVICES if self.is_control_plane else ())
        names_of_extensions = [f"ext-{name.rpartition('/')[2]}" for name in self.extensions]
        return [
            *map(self._service, names),
            *(Service(name, "Running", True) for name in names_of_extensions),
        ]

    def _service(self, name: str) -> Service:
        """One of Talos' own services; it waits as the real one does (service_runner.go)."""
        if name in _WAITING_FOR_TIME and not self.is_synchronized:
            return Service(name, "Waiting", False, "Waiting for time sync")
        if name == "etcd" and not self.installation.has_etcd_data:
            return Service(name, "Preparing", False, "Running pre state")
        return Service(name, "Running", True, "Health check successful")

    def write_log(self, text: str) -> None:
        """Write a line of Talos into the log."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09}Z"
        self.log.append(f"user: warning: [{now}]: [talos] {text}")

    async def emit(self, task: str, actor: str) -> None:
        """Tell all who listen, and all who will, that a task has started."""
        async with self._changed:
            self._events.append((task, actor))
            self._changed.notify_all()

    async def events(self) -> AsyncIterator[tuple[str, str]]:
        """Yield all events, past ones first: a reset may overtake the call that listens to it."""
        seen = 0
        while True:
            async with self._changed:
                while len(self._events) == seen:
                    await self._changed.wait()
            for event in self._events[seen:]:
                yield event
            seen = len(self._events)
