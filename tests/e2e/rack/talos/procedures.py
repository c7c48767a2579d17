"""What a machine answers to each procedure (facts/providers.md C1)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from . import resources
from .config import ConfigError, MachineConfig
from .kubeconfig import admin_certificate, archive, kubeconfig
from .machine import Machine, Service
from .messages import cosi, talos
from .refusal import RefusalError
from .validation import validate

if TYPE_CHECKING:
    from .simulator import TalosSimulator

_NO_REBOOT, _STAGED = 2, 3
_CREATED = 0
_KIB = 1024
_TASK_EVENT = "talos/runtime/machine.TaskEvent"
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
        except ConfigError as error:
            raise RefusalError(StatusCode.INVALID_ARGUMENT, str(error)) from None
        staged = request.mode == _STAGED and machine.config is not None
        if not request.dry_run:
            if staged:
                machine.installation.staged = config
            else:
                await self._simulator.configure(machine, config)
        return talos.ApplyConfiguration(mode=_STAGED if staged else _NO_REBOOT)

    async def bootstrap(self, machine: Machine, _: Any) -> Any:
        """Start etcd, once."""
        if machine.config is None:
            raise RefusalError(StatusCode.FAILED_PRECONDITION, "bootstrap is not available yet")
        _require_control_plane(machine, "bootstrap")
        if machine.installation.has_etcd_data:
            raise RefusalError(StatusCode.ALREADY_EXISTS, "etcd data directory is not empty")
        self._simulator.bootstrap(machine, machine.config)
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
        _require_control_plane(machine, "etcd member list")
        if machine.config is None or not machine.installation.has_etcd_data:
            raise RefusalError(StatusCode.UNAVAILABLE, "etcd is not running")
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
        """Read a file; there is only the one by which a reboot is noticed."""
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
        """Show the resources as they are now; the first message is always empty (C2).

        The stream stays open, for the provider takes its end for an error. What changes later is
        not shown: the provider opens a new watch for each attempt.
        """
        yield cosi.WatchResponse()
        for name, resource in resources.find(machine, request.namespace, request.type).items():
            if request.id in ("", name):
                event = cosi.Event(resource=resource, event_type=_CREATED)
                yield cosi.WatchResponse(event=[event])
        await asyncio.Event().wait()


def _require_control_plane(machine: Machine, procedure: str) -> None:
    if not machine.is_control_plane:
        text = f"{procedure} is only available on control plane nodes"
        raise RefusalError(StatusCode.UNIMPLEMENTED, text)


def _service(service: Service) -> Any:
    now = talos.Timestamp(seconds=int(time.time()))
    event = talos.ServiceEvent(msg=f"Service is {service.state}", state=service.state, ts=now)
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
