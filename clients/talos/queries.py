"""Reads the services, boot id and clock of one node through the Talos API.

The field numbers are those of siderolabs/talos v1.13.9 (api/machine/machine.proto, api/resource)
and cosi-project/specification (api/v1alpha1). Each function raises ``TalosError``.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from clients.talos import machine_api, protobuf

_SERVICES = "/machine.MachineService/ServiceList"
_READ = "/machine.MachineService/Read"
_GET = "/cosi.resource.State/Get"
_TIME_STATUS = b"".join(
    protobuf.field(number, part)
    for number, part in enumerate((b"runtime", b"TimeStatuses.v1alpha1.talos.dev", b"node"), 1)
)
"""A ``GetRequest``: namespace, type and id."""
_BOOT_ID = b"/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Service:
    """A system service of Talos, as in ``talosctl services``."""

    state: str
    """``Waiting``, ``Preparing``, ``Running``, ``Failed`` …"""
    is_healthy: bool
    message: str
    """The last event, as in ``Waiting for time sync``; may be empty."""

    def __str__(self) -> str:
        return f"{self.state} ({self.message})" if self.message else self.state

    @property
    def waits_for_time(self) -> bool:
        """Whether it waits until the node's clock is synchronized."""
        return self.state == "Waiting" and "time sync" in self.message


def services(address: str, context: ssl.SSLContext) -> dict[str, Service]:
    """The system services by their names, as in ``etcd`` and ``kubelet``."""
    answer = protobuf.find(machine_api.call(address, context, _SERVICES), 1)
    found = {}
    for entry in protobuf.find_all(answer, 2):
        events = protobuf.find_all(protobuf.find(entry, 3), 1)
        found[protobuf.find(entry, 1).decode()] = Service(
            state=protobuf.find(entry, 2).decode(),
            is_healthy=protobuf.find_number(protobuf.find(entry, 4), 2) == 1,
            message=protobuf.find(events[-1], 1).decode() if events else "",
        )
    return found


def boot_id(address: str, context: ssl.SSLContext) -> str:
    """The id of the current boot, a UUID that changes with every boot."""
    parts = machine_api.stream(address, context, _READ, [protobuf.field(1, _BOOT_ID)])
    return b"".join(protobuf.find(part, 2) for part in parts).decode().strip()


def has_synchronized_clock(address: str, context: ssl.SSLContext) -> bool:
    """Whether a time server has answered the node since it booted."""
    answer = machine_api.call(address, context, _GET, _TIME_STATUS)
    return protobuf.find_number(protobuf.find(answer, 1, 2, 1), 1) == 1
