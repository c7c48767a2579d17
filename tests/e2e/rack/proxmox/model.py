"""The things of a Proxmox VE cluster: nodes, storages, volumes, VMs and pools."""

from __future__ import annotations

import dataclasses
import math
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping

from . import errors
from .property_string import parse

GIB = 1024**3
VERSION = {"version": "9.1.4", "release": "9.1", "repoid": "simulated", "console": "html5"}

CPU_FLAGS = "fpu vmx pni ssse3 cx16 sse4_1 sse4_2 popcnt aes lahf_lm"
"""The flags of a processor, out of /proc/cpuinfo, that matter to the virtual machines here."""

_DRIVE = re.compile(r"(ide|sata|scsi|virtio|efidisk|tpmstate|unused)\d+")
_INTEGERS = frozenset(
    [
        "acpi",
        "autostart",
        "balloon",
        "ciupgrade",
        "cores",
        "cpuunits",
        "freeze",
        "keephugepages",
        "kvm",
        "localtime",
        "numa",
        "onboot",
        "protection",
        "shares",
        "sockets",
        "tablet",
        "tdf",
        "template",
        "vcpus",
    ]
)

_NEEDS_NO_REPORT = frozenset({"vmid", "tags", "lock", "template"})


def is_drive(key: str) -> bool:
    """Tell whether a key of a VM's configuration names a drive."""
    return _DRIVE.fullmatch(key) is not None


@dataclasses.dataclass(kw_only=True)
class Volume:
    """A file or a disk on a storage."""

    volid: str
    content: str
    format: str
    size: int
    vmid: int | None = None
    url: str = ""
    """Where the data came from, for a downloaded image and for the disks made of it."""
    identity: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    """Another one for each volume that is made, whatever its name."""

    def summary(self) -> dict[str, object]:
        """Describe it as ``GET …/content`` does."""
        answer: dict[str, object] = {
            "volid": self.volid,
            "content": self.content,
            "format": self.format,
            "size": self.size,
            "used": self.size,
        }
        return answer if self.vmid is None else answer | {"vmid": self.vmid}


@dataclasses.dataclass(kw_only=True)
class Storage:
    """A storage of one node."""

    name: str
    kind: str
    """``dir``, ``lvmthin`` …"""
    content: frozenset[str]
    total: int
    volumes: dict[str, Volume] = dataclasses.field(default_factory=dict)
    active: bool = True
    shared: bool = False
    thin_used: int | None = None
    """Bytes in use, if they differ from the sum of the volumes."""

    @property
    def holds_files(self) -> bool:
        """Whether volumes are files with a name and an extension."""
        return self.kind in {"dir", "nfs", "cifs"}

    @property
    def available(self) -> int:
        """Bytes that are free."""
        if self.thin_used is not None:
            return self.total - self.thin_used
        return self.total - sum(volume.size for volume in self.volumes.values())

    def add(self, volume: Volume) -> None:
        """Store a volume, or fail for want of space."""
        self.require(volume.size)
        self.volumes[volume.volid] = volume

    def require(self, size: int) -> None:
        """Fail unless so many bytes are free."""
        if size > self.available:
            raise errors.full(self.name, size, self.available)

    def get(self, volid: str) -> Volume:
        """Find a volume."""
        try:
            return self.volumes[self.full_id(volid)]
        except KeyError:
            raise errors.unknown_volume(self.full_id(volid)) from None

    def full_id(self, volid: str) -> str:
        """The id of a volume with the name of the storage.

        A name without its storage is one of this storage (PVE/API2/Storage/Content.pm,
        ``$real_volume_id``): so the provider names a file that it overwrites.
        """
        return volid if ":" in volid else f"{self.name}:{volid}"

    def summary(self) -> dict[str, object]:
        """Describe it as ``GET /nodes/{node}/storage`` does."""
        return {
            "storage": self.name,
            "type": self.kind,
            "content": ",".join(sorted(self.content)),
            "active": int(self.active),
            "enabled": 1,
            "shared": int(self.shared),
            "avail": self.available,
            "used": self.total - self.available,
            "total": self.total,
            "used_fraction": 1 - self.available / self.total,
        }


def default_storages() -> list[Storage]:
    """The storages of a fresh installation, with ``import`` switched on."""
    files = frozenset({"iso", "vztmpl", "backup", "import", "snippets"})
    return [
        Storage(name="local", kind="dir", content=files, total=100 * GIB),
        Storage(
            name="local-lvm",
            kind="lvmthin",
            content=frozenset({"images", "rootdir"}),
            total=4096 * GIB,
        ),
    ]


@dataclasses.dataclass(kw_only=True)
class Node:
    """A host of the cluster."""

    name: str
    cores: int = 16
    memory: int = 128 * GIB
    storages: list[Storage] = dataclasses.field(default_factory=default_storages)
    memory_used: int = GIB
    bridges: tuple[str, ...] = ("vmbr0",)
    bridges_active: bool = True
    version: str = VERSION["version"]
    online: bool = True
    """Whether it answers; if not, it has been silent for longer than its last report is kept."""
    cpu_flags: str = CPU_FLAGS
    clock_offset_s: float = 0
    """By how much its clock is ahead of this machine's."""

    def storage(self, name: str) -> Storage:
        """Find a storage."""
        for storage in self.storages:
            if storage.name == name:
                return storage
        raise errors.unknown_storage(name)

    def volume(self, volid: str) -> Volume:
        """Find a volume by its full id."""
        return self.storage(volid.partition(":")[0]).get(volid)

    def summary(self) -> dict[str, object]:
        """Describe it as ``GET /nodes`` does."""
        return {
            "id": f"node/{self.name}",
            "type": "node",
            "node": self.name,
            "status": "online" if self.online else "offline",
            "maxcpu": self.cores,
            "cpu": 0.02,
            "maxmem": self.memory,
            "mem": self.memory_used,
            "uptime": 3600,
            "level": "",
            "ssl_fingerprint": "",
        }


@dataclasses.dataclass(kw_only=True)
class Vm:
    """A virtual machine, or a container that only takes up an id."""

    vmid: int
    node: Node
    config: dict[str, str]
    kind: str = "qemu"
    started_at: float | None = None
    started_with: dict[str, str] = dataclasses.field(default_factory=dict)
    """The configuration that it has run with since then."""
    lock: str = ""
    created_at: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether it has power."""
        return self.started_at is not None

    def lose_power(self) -> None:
        """Stop, for whatever reason."""
        self.started_at = None

    @property
    def name(self) -> str:
        """Its name, not necessarily unique."""
        return self.config.get("name", f"VM {self.vmid}")

    @property
    def agent_enabled(self) -> bool:
        """Whether the guest agent's channel exists."""
        agent = parse(self.config.get("agent", ""), "enabled")
        return agent.get("enabled") == "1"

    def drives(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield its drives in the order of their keys, each with its options."""
        for key in sorted(filter(is_drive, self.config)):
            yield key, parse(self.config[key], "file")

    def volumes(self) -> dict[str, Volume]:
        """Its own volumes, wherever they are on the node."""
        return {
            volume.volid: volume
            for storage in self.node.storages
            for volume in storage.volumes.values()
            if volume.vmid == self.vmid
        }

    def require_unlocked(self) -> None:
        """Refuse while a backup or the like holds the VM."""
        if self.lock:
            raise errors.vm_locked(self.lock)

    def api_config(self) -> dict[str, object]:
        """Its configuration with the JSON types that the provider needs."""
        config = self.config | ({"lock": self.lock} if self.lock else {})
        return {key: int(v) if key in _INTEGERS else v for key, v in config.items()}

    def summary(self) -> dict[str, object]:
        """Describe it as ``GET /cluster/resources`` and ``status/current`` do."""
        answer: dict[str, object] = {
            "vmid": self.vmid,
            "name": self.name,
            "status": "running" if self.running else "stopped",
            "uptime": int(time.monotonic() - self.started_at) if self.started_at else 0,
            "template": int(self.config.get("template", "0")),
            "cpu": 0,
            "mem": 0,
            "disk": 0,
            "maxmem": int(self.config.get("memory", "512")) * 1024**2,
            "maxdisk": max((v.size for v in self.volumes().values()), default=0),
        }
        if "tags" in self.config:
            answer["tags"] = self.config["tags"]
        return answer | ({"lock": self.lock} if self.lock else {})


@dataclasses.dataclass(kw_only=True)
class Pool:
    """A named group of VMs."""

    poolid: str
    comment: str = ""
    vmids: set[int] = dataclasses.field(default_factory=set)


class Cluster:
    """A Proxmox VE cluster: what there is, and how it is found."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.vms: dict[int, Vm] = {}
        self.pools: dict[str, Pool] = {}
        self.has_quorum = True
        self.report_s = 10.0
        """Seconds between two reports of a host about its guests (pve-manager
        ``PVE/Service/pvestatd.pm``), which are all that a list of the cluster knows of them."""
        self._reports: dict[int, tuple[float, dict[str, object]]] = {}
        self._booted_at = -math.inf

    def boot(self) -> None:
        """Begin without any report of a host about its guests."""
        self._reports.clear()
        self._booted_at = time.monotonic()

    def lose_power(self) -> None:
        """Stop all guests. Locks stay, and what there is of a disk that was being imported."""
        for vm in self.vms.values():
            vm.lose_power()
            if vm.lock == "create":
                storage = next(it for it in vm.node.storages if "images" in it.content)
                volid = f"{storage.name}:vm-{vm.vmid}-disk-0"
                disk = Volume(volid=volid, content="images", format="raw", size=GIB, vmid=vm.vmid)
                storage.volumes[volid] = disk

    def reported(self, vm: Vm) -> dict[str, object]:
        """What the list of the cluster shows of a guest, by its host's last report.

        Tags and lock are there at once. Name and status come with the first report; until then an
        id that is used again has those of the guest that had it before.
        """
        now = time.monotonic()
        at, values = self._reports.get(vm.vmid, (0.0, {}))
        begin = max(at, vm.created_at, self._booted_at)
        if vm.node.online and now - begin >= self.report_s:
            values = vm.summary()
            self._reports[vm.vmid] = now, values
        present = {key: value for key, value in vm.summary().items() if key in _NEEDS_NO_REPORT}
        stale = {key: value for key, value in values.items() if key not in _NEEDS_NO_REPORT}
        return {"status": "unknown"} | (stale if vm.node.online else {}) | present

    def require_answer(self, name: str) -> None:
        """Refuse what a host would have to answer that is unknown or silent."""
        if not self.node(name).online:
            raise errors.unreachable_node()

    def node(self, name: str) -> Node:
        """Find a node."""
        try:
            return self.nodes[name]
        except KeyError:
            raise errors.unknown_node(name) from None

    def vm(self, node: str, vmid: int) -> Vm:
        """Find a VM on the node where it is."""
        vm = self.vms.get(vmid)
        if vm is None or vm.node is not self.node(node) or vm.kind != "qemu":
            raise errors.unknown_vm(node, vmid)
        return vm

    def pool(self, poolid: str) -> Pool:
        """Find a pool."""
        try:
            return self.pools[poolid]
        except KeyError:
            raise errors.unknown_pool(poolid) from None

    def pool_of(self, vm: Vm) -> Pool | None:
        """Find the pool that a VM is in."""
        return next((pool for pool in self.pools.values() if vm.vmid in pool.vmids), None)

    def require_free(self, vmid: int) -> None:
        """Refuse an id that any VM or container of the cluster has."""
        if taken := self.vms.get(vmid):
            raise errors.vm_exists(vmid, taken.node.name)

    def next_id(self) -> int:
        """Return the lowest free id."""
        return next(vmid for vmid in range(100, 10**9) if vmid not in self.vms)

    def add_foreign(
        self, vmid: int, *, node: str, kind: str = "qemu", config: Mapping[str, str] | None = None
    ) -> Vm:
        """Put something there that no program of ours has made, running and with no guest."""
        self.require_free(vmid)
        vm = Vm(vmid=vmid, node=self.node(node), kind=kind, config=dict(config or {}))
        vm.started_at = time.monotonic()
        vm.created_at = -math.inf
        self.vms[vmid] = vm
        return vm
