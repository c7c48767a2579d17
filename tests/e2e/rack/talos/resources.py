"""The COSI resources that the provider reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .machine import Machine
from .messages import cosi, talos
from .validation import disk_fields

_GIB = 1024**3
_READY = 6
_RUNNING, _MAINTENANCE = 4, 3


def find(machine: Machine, namespace: str, kind: str) -> Mapping[str, Any]:
    """Return the resources of a type by their ids; none for a type that is not simulated."""
    make = _KINDS.get((namespace, kind))
    return (
        {}
        if make is None
        else {
            name: _resource(namespace, kind, name, spec, _version(machine, namespace, name))
            for name, spec in make(machine)
        }
    )


def _version(machine: Machine, namespace: str, name: str) -> str:
    """The version of a resource: that of a program of Kubernetes changes with its config."""
    if machine.config is None or namespace != "controlplane":
        return "1"
    return machine.config.version_of(name)


def _disks(machine: Machine) -> Iterator[tuple[str, Any]]:
    for disk in machine.guest.disks:
        fields = disk_fields(disk)
        name = disk.device.rpartition("/")[2]
        size = f"{disk.size / _GIB:.0f} GiB"
        yield name, talos.DiskSpec(**fields, io_size=512, sector_size=512, pretty_size=size)


def _volumes(machine: Machine) -> Iterator[tuple[str, Any]]:
    if machine.config is None:
        return
    system = next(disk for disk in machine.guest.disks if disk.is_boot_disk)
    size = machine.installation.partitions.ephemeral_size
    yield "EPHEMERAL", talos.VolumeStatus(phase=_READY, location=f"{system.device}4", size=size)
    for volume in machine.config.user_volumes:
        yield f"u-{volume.name}", talos.VolumeStatus(phase=_READY)


def _machine_status(machine: Machine) -> Iterator[tuple[str, Any]]:
    ready = all(service.healthy for service in machine.services)
    stage = _RUNNING if machine.config else _MAINTENANCE
    yield "machine", talos.MachineStatus(stage=stage, status=talos.MachineStatusStatus(ready=ready))


def _static_pod(program: str) -> Callable[[Machine], Iterator[tuple[str, Any]]]:
    def make(machine: Machine) -> Iterator[tuple[str, Any]]:
        image = machine.config.images.get(program) if machine.config else None
        if image and program == "kube-apiserver":
            yield program, talos.ApiServerConfigSpec(image=image)
        elif image:
            yield program, talos.ComponentConfigSpec(enabled=True, image=image)

    return make


def _kubelet(machine: Machine) -> Iterator[tuple[str, Any]]:
    if machine.config:
        yield "kubelet", talos.KubeletSpec(image=machine.config.images["kubelet"])


def _services(machine: Machine) -> Iterator[tuple[str, Any]]:
    for service in machine.services:
        yield service.id, talos.ServiceSpec(running=True, healthy=service.healthy)


def _machine_config(machine: Machine) -> Iterator[tuple[str, Any]]:
    if machine.config:
        yield "v1alpha1", talos.MachineConfigSpec(yaml_marshalled=machine.config.data)


def _time(machine: Machine) -> Iterator[tuple[str, Any]]:
    yield "node", talos.TimeStatus(synced=machine.is_synchronized)


_KINDS: Mapping[tuple[str, str], Callable[[Machine], Iterator[tuple[str, Any]]]] = {
    ("runtime", "Disks.block.talos.dev"): _disks,
    ("runtime", "VolumeStatuses.block.talos.dev"): _volumes,
    ("runtime", "MachineStatuses.runtime.talos.dev"): _machine_status,
    ("runtime", "Services.v1alpha1.talos.dev"): _services,
    ("runtime", "TimeStatuses.v1alpha1.talos.dev"): _time,
    ("config", "MachineConfigs.config.talos.dev"): _machine_config,
    ("k8s", "KubeletSpecs.kubernetes.talos.dev"): _kubelet,
    ("controlplane", "APIServerConfigs.kubernetes.talos.dev"): _static_pod("kube-apiserver"),
    ("controlplane", "ControllerManagerConfigs.kubernetes.talos.dev"): _static_pod(
        "kube-controller-manager"
    ),
    ("controlplane", "SchedulerConfigs.kubernetes.talos.dev"): _static_pod("kube-scheduler"),
}


def _resource(namespace: str, kind: str, name: str, spec: Any, version: str) -> Any:
    metadata = cosi.Metadata(
        namespace=namespace, type=kind, id=name, version=version, phase="running"
    )
    return cosi.Resource(metadata=metadata, spec=cosi.Spec(proto_spec=spec.SerializeToString()))
