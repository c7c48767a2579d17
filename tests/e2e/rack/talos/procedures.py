"""The answers of a machine to each procedure."""

from __future__ import annotations

import asyncio
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from . import resources
from .apply import SAID, Mode, resolved
from .cluster import TalosCluster
from .config import ConfigError, MachineConfig
from .etcd import snapshot
from .kubeconfig import admin_certificate, archive, kubeconfig
from .machine import Machine, Service
from .messages import cosi, talos
from .refusal import RefusalError
from .validation import validate

if TYPE_CHECKING:
    from .simulator import TalosSimulator

_CREATED, _UPDATED, _DESTROYED = 0, 1, 2
_SERVICES = "Services.v1alpha1.talos.dev"
_WATCH_INTERVAL = 0.1
"""Seconds between two looks at what somebody watches."""
_KIB = 1024
_TASK_EVENT = "talos/runtime/machine.TaskEvent"
_LIFECYCLE_SINCE = (1, 13)
_NO_ETCD = (
    "error building etcd client TLS config: open /system/secrets/etcd/admin.crt: "
    "no such file or directory"
)
"""What Talos says before etcd has started for the first time (facts/talos-real.md)."""
_ROUTES_FILE = "/proc/net/fib_trie"
_BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"


class Procedures:
    """The procedures, for any machine of the rack.

    Those that answer once return the message; those that stream yield theirs.
    """

    def __init__(self, simulator: TalosSimulator) -> None:
        self._simulator = simulator

    async def disks(self, machine: Machine, _: Any) -> Any:
        """List the disks; the provider's probe for maintenance mode (C0)."""
        disks = [
            talos.Disk(
                size=disk.size,
                model="QEMU HARDDISK",
                device_name=disk.device,
                serial=disk.serial,
                system_disk=disk.is_boot_disk,
            )
            for disk in machine.guest.disks
        ]
        return talos.Disks(disks=disks)

    async def apply_configuration(self, machine: Machine, request: Any) -> Any:
        """Take a configuration, or say what is wrong with it."""
        try:
            config = MachineConfig.parse(request.data)
            taken = self._simulator.taken_addresses(machine, config)
            await validate(config, machine.guest, taken)
            mode = resolved(request.mode, machine.config, config)
        except ConfigError as error:
            raise RefusalError(StatusCode.INVALID_ARGUMENT, str(error)) from None
        said = SAID[mode]
        if request.dry_run:
            said = f"Dry run summary:\n{said} (skipped in dry-run)."
        elif mode is Mode.NO_REBOOT:
            await self._simulator.configure(machine, config)
        else:
            machine.installation.staged = config
            if mode is Mode.REBOOT:
                self._simulator.reboot(machine)
        return talos.ApplyConfiguration(mode=mode, mode_details=said)

    async def bootstrap(self, machine: Machine, request: Any) -> Any:
        """Start etcd, once: empty, or with the snapshot that was uploaded."""
        if not machine.has_runtime or machine.config is None:
            raise RefusalError(StatusCode.FAILED_PRECONDITION, "bootstrap is not available yet")
        _require_control_plane(machine, "bootstrap")
        if not machine.is_synchronized:
            raise RefusalError(StatusCode.FAILED_PRECONDITION, "time is not in sync yet")
        if machine.installation.has_etcd_data:
            raise RefusalError(StatusCode.ALREADY_EXISTS, "etcd data directory is not empty")
        snapshot = machine.installation.recovery if request.recover_etcd else b""
        if request.recover_etcd and not snapshot:
            return talos.Bootstrap()  # as the real one, whose etcd then fails to start
        await self._simulator.bootstrap(machine, machine.config, snapshot)
        return talos.Bootstrap()

    async def version(self, machine: Machine, _: Any) -> Any:
        """Tell the version of Talos and where it runs."""
        return talos.Version(
            version=talos.VersionInfo(tag=machine.version, os="linux", arch="amd64"),
            platform=talos.PlatformInfo(name="nocloud", mode="cloud"),
            features=talos.FeaturesInfo(rbac=True),
        )

    async def services(self, machine: Machine, _: Any) -> Any:
        """List the system services."""
        return talos.ServiceList(services=[_service(service) for service in machine.services])

    async def etcd_members(self, machine: Machine, _: Any) -> Any:
        """List the members of etcd, as one of them knows them."""
        _require_control_plane(machine, "member list")
        if machine.config is None or not machine.installation.has_etcd_data:
            raise RefusalError(StatusCode.UNKNOWN, _NO_ETCD)
        members = [
            talos.EtcdMember(
                id=member.id,
                hostname=member.hostname,
                peer_urls=[f"https://{member.address}:2380"],
                client_urls=[f"https://{member.address}:2379"],
            )
            for member in self._simulator.cluster_of(machine.config).members.values()
        ]
        return talos.EtcdMembers(members=members)

    async def etcd_status(self, machine: Machine, _: Any) -> Any:
        """Tell how one member of etcd is."""
        cluster = self._etcd(machine, "etcd status")
        member = cluster.members[machine.guest.vmid]
        status = talos.EtcdMemberStatus(
            member_id=member.id,
            leader=next(iter(cluster.members.values())).id,
            db_size=1,
            db_size_in_use=1,
        )
        return talos.EtcdStatus(member_status=status)

    async def etcd_alarms(self, machine: Machine, _: Any) -> Any:
        """List the alarms: there is never one."""
        self._etcd(machine, "etcd alarm list")
        return talos.EtcdAlarm()

    async def etcd_leave(self, machine: Machine, _: Any) -> Any:
        """Let a member leave."""
        cluster = self._etcd(machine, "etcd leave")
        if len(cluster.members) == 1:
            text = "re-configuration failed due to not enough started members"
            raise RefusalError(StatusCode.UNKNOWN, f"failed to leave cluster: etcdserver: {text}")
        self._simulator.leave(machine)
        return talos.EtcdLeaveCluster()

    async def etcd_remove(self, machine: Machine, request: Any) -> Any:
        """Remove a member that cannot leave by itself."""
        cluster = self._etcd(machine, "etcd remove member")
        self._simulator.remove_member(cluster, request.member_id)
        return talos.EtcdRemoveMemberByID()

    async def etcd_recover(self, machine: Machine, messages: AsyncIterator[Any]) -> Any:
        """Take a snapshot for the bootstrap that follows."""
        _require_control_plane(machine, "etcd recover")
        machine.installation.recovery = b"".join([part.bytes async for part in messages])
        return talos.EtcdRecover()

    async def etcd_snapshot(self, machine: Machine, _: Any) -> AsyncIterator[Any]:
        """Stream a snapshot, made by the etcd behind the Kubernetes API."""
        self._etcd(machine, "etcd snapshot")
        host = urllib.parse.urlsplit(machine.config.endpoint if machine.config else "").hostname
        async for chunk in snapshot(f"{host}:2379"):
            yield talos.Data(bytes=chunk)

    async def pull(self, machine: Machine, request: Any) -> AsyncIterator[Any]:
        """Pull an image, and tell the progress of its only layer (Talos 1.13 and newer)."""
        if _minor(machine.version) < _LIFECYCLE_SINCE:
            raise RefusalError(StatusCode.UNIMPLEMENTED, "unknown service machine.ImageService")
        progress = talos.PullLayerProgress(offset=1, total=2)
        response = talos.PullResponse(
            pull_progress=talos.PullProgress(layer_id="sha256:1", progress=progress)
        )
        await self._require_image(machine, request.image_ref)
        while self._simulator.hand.image_fault == "stalled":
            yield response
            await asyncio.sleep(_WATCH_INTERVAL)
        yield response
        yield talos.PullResponse(name=request.image_ref)

    async def image_pull(self, machine: Machine, request: Any) -> Any:
        """Pull an image without a word (Talos 1.12 and older)."""
        await self._require_image(machine, request.reference)
        while self._simulator.hand.image_fault == "stalled":
            await asyncio.sleep(_WATCH_INTERVAL)
        return talos.ImagePull()

    async def _require_image(self, machine: Machine, image: str) -> None:
        """Fail, or try again and again, if the image cannot be pulled."""
        name = f'failed to pull image "{image}": failed to resolve reference "{image}"'
        if self._simulator.hand.image_fault == "missing":
            raise RefusalError(StatusCode.NOT_FOUND, f"error pulling image: {name}: not found")
        if self._simulator.hand.image_fault == "unreachable":
            host = image.partition("/")[0]
            cause = f'failed to do request: Head "https://{host}/v2/": no such host'
            machine.write_log(f"retrying error: {name}: {cause}")
        while self._simulator.hand.image_fault == "unreachable":
            await asyncio.sleep(_WATCH_INTERVAL)

    async def dmesg(self, machine: Machine, _: Any) -> AsyncIterator[Any]:
        """Show the kernel's log, one message for each line."""
        for line in machine.log:
            yield talos.Data(bytes=line.encode())

    async def install(self, machine: Machine, request: Any) -> AsyncIterator[Any]:
        """Put another Talos on the disk, for the next boot (Talos 1.13 and newer)."""
        if _minor(machine.version) < _LIFECYCLE_SINCE:
            raise RefusalError(StatusCode.UNIMPLEMENTED, "unknown service LifecycleService")
        self._simulator.install(machine, request.source.image_name)
        yield talos.InstallResponse(progress=talos.InstallProgress(message="installing"))
        yield talos.InstallResponse(progress=talos.InstallProgress(exit_code=0))

    async def upgrade(self, machine: Machine, request: Any) -> Any:
        """Put another Talos on the disk and boot it (Talos 1.12 and older)."""
        self._simulator.install(machine, request.image)
        self._simulator.reboot(machine)
        return talos.Upgrade(ack="Upgrade request received", actor_id=str(uuid.uuid4()))

    async def reboot(self, machine: Machine, _: Any) -> Any:
        """Boot anew."""
        self._simulator.reboot(machine)
        return talos.Reboot(actor_id=str(uuid.uuid4()))

    async def memory(self, machine: Machine, _: Any) -> Any:
        """Tell how much memory there is."""
        return talos.Memory(meminfo=talos.MemInfo(memtotal=machine.guest.memory // _KIB))

    async def reset(self, machine: Machine, request: Any) -> Any:
        """Wipe the machine and let it shut down or boot anew."""
        actor = str(uuid.uuid4())
        self._simulator.reset(machine, actor, graceful=request.graceful, reboot=request.reboot)
        return talos.Reset(actor_id=actor)

    async def kubeconfig(self, machine: Machine, _: Any) -> AsyncIterator[Any]:
        """Make an administrator's kubeconfig."""
        _require_control_plane(machine, "kubeconfig")
        if config := machine.config:
            client = admin_certificate(config)
            yield talos.Data(bytes=archive(kubeconfig(config, client)))

    async def read(self, machine: Machine, request: Any) -> AsyncIterator[Any]:
        """Read a file: the one by which a reboot is noticed, or that of all own addresses."""
        if request.path == _ROUTES_FILE:
            yield talos.Data(bytes=self._routes(machine).encode())
            return
        if request.path != _BOOT_ID_FILE:
            raise RefusalError(StatusCode.NOT_FOUND, f"{request.path}: no such file or directory")
        yield talos.Data(bytes=machine.boot_id.encode())

    async def events(self, machine: Machine, _: Any) -> AsyncIterator[Any]:
        """Tell what happens; the first message is always empty (C2)."""
        yield talos.Event()
        async for number, (task, actor) in _enumerate(machine.events()):
            event = talos.TaskEvent(task=task)
            data = talos.Any(type_url=_TASK_EVENT, value=event.SerializeToString())
            yield talos.Event(data=data, id=str(number), actor_id=actor)

    async def get_resource(self, machine: Machine, request: Any) -> Any:
        """Get one resource."""
        found = resources.find(machine, request.namespace, request.type)
        if request.id not in found:
            text = f"resource {request.type}({request.namespace}/{request.id}) doesn't exist"
            raise RefusalError(StatusCode.NOT_FOUND, text)
        return cosi.GetResponse(resource=found[request.id])

    async def list_resources(self, machine: Machine, request: Any) -> AsyncIterator[Any]:
        """List the resources of a type."""
        for resource in resources.find(machine, request.namespace, request.type).values():
            yield cosi.ListResponse(resource=resource)

    async def watch_resources(self, machine: Machine, request: Any) -> AsyncIterator[Any]:
        """Show the resources as they are, and then what changes; the first message is empty (C2).

        The stream stays open, for the provider takes its end for an error. A service that begins
        anew with another image goes first and comes again, as the real one does.
        """
        yield cosi.WatchResponse()
        shown: dict[str, tuple[Any, str]] = {}
        while True:
            found = resources.find(machine, request.namespace, request.type)
            for name, resource in found.items():
                if request.id not in ("", name):
                    continue
                mark = _mark(machine, name)
                old = shown.get(name)
                if old == (resource, mark):
                    continue
                shown[name] = resource, mark
                for event in _events(old[0] if old else None, resource, old and old[1] != mark):
                    yield cosi.WatchResponse(event=[event])
            await asyncio.sleep(_WATCH_INTERVAL)

    def _etcd(self, machine: Machine, procedure: str) -> TalosCluster:
        """The cluster of a machine whose etcd answers."""
        _require_control_plane(machine, procedure)
        if not machine.installation.has_etcd_data:
            raise RefusalError(StatusCode.UNKNOWN, f"failed to create etcd client: {_NO_ETCD}")
        if machine.config is not None and machine.address not in self._simulator.hand.sick_etcd:
            cluster = self._simulator.cluster_of(machine.config)
            if machine.guest.vmid in cluster.members and cluster.has_quorum:
                return cluster
        raise RefusalError(StatusCode.UNAVAILABLE, "etcdserver: no leader")

    def _routes(self, machine: Machine) -> str:
        """What the kernel writes of a machine's own addresses, shortened."""
        own = [machine.address]
        config = machine.config
        if config and self._simulator.cluster_of(config).vip_holder() == machine.guest.vmid:
            own += config.vips
        return "".join(f"  |-- {address}\n     /32 host LOCAL\n" for address in own)


def _mark(machine: Machine, name: str) -> str:
    """What a service runs, so that another image is a new beginning; empty for all else."""
    return machine.config.images["kubelet"] if machine.config and name == "kubelet" else ""


def _events(old: Any, new: Any, begins_anew: object) -> list[Any]:
    if old is None:
        return [cosi.Event(resource=new, event_type=_CREATED)]
    if begins_anew and new.metadata.type == _SERVICES:
        gone = cosi.Event(resource=old, event_type=_DESTROYED)
        return [gone, cosi.Event(resource=new, event_type=_CREATED)]
    return [cosi.Event(resource=new, event_type=_UPDATED, old=old)]


def _minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.removeprefix("v").split(".")
    return int(major), int(minor)


def _require_control_plane(machine: Machine, procedure: str) -> None:
    if not machine.is_control_plane:
        text = f"{procedure} is only available on control plane nodes"
        raise RefusalError(StatusCode.UNIMPLEMENTED, text)


def _service(service: Service) -> Any:
    now = talos.Timestamp(seconds=int(time.time()))
    event = talos.ServiceEvent(msg=service.message, state=service.state, ts=now)
    return talos.ServiceInfo(
        id=service.id,
        state=service.state,
        events=talos.ServiceEvents(events=[event]),
        health=talos.ServiceHealth(healthy=service.healthy, last_change=now),
    )


async def _enumerate(
    items: AsyncIterator[tuple[str, str]],
) -> AsyncIterator[tuple[int, tuple[str, str]]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1
