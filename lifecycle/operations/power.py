"""Power-cycles a VM through Proxmox, which makes a new number of cores or memory effective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError
from lifecycle.operations.context import NodeContext, make_endpoint

if TYPE_CHECKING:
    from settings.groups import Endpoint

SHUTDOWN_TIMEOUT_S = 600
"""Seconds that a VM has to shut down before it is stopped hard."""
_SHUTDOWN_FAILED = "powerdown failed"
"""Part of the error of a reboot task if the guest does not shut down. Proxmox then does not stop
the VM (proxmox/qemu-server src/PVE/QemuServer.pm vm_reboot, _do_vm_stop)."""
_MISSING = "does not exist"
"""Part of the reason phrase if the VM does not exist; the status is 500, as for other errors
(proxmox/pve-guest-common src/PVE/AbstractConfig.pm load_config)."""
_ANSWER_TIMEOUT_S = 30
_HARDWARE_KEYS = ("cores", "memory", "sockets")


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power control of one VM."""

    proxmox: Endpoint
    host: str
    """The Proxmox node that has the VM."""
    vm_id: int

    @classmethod
    def of(cls, context: NodeContext) -> Power:
        """Create it for the VM of a node."""
        cluster = context.cluster
        return cls(
            proxmox=make_endpoint(
                cluster.proxmox_endpoint,
                context.credentials.proxmox_token,
                insecure=cluster.proxmox_insecure,
            ),
            host=context.node.host,
            vm_id=context.node.vm_id,
        )

    def status(self) -> str:
        """``running`` or ``stopped``; empty if the VM does not exist. Raises ``ProxmoxError``."""
        try:
            return str(self._vm_call("GET", "status/current")["status"])
        except ProxmoxError as error:
            if _MISSING in error.detail:
                return ""
            raise

    def has_new_hardware(self) -> bool:
        """Whether Proxmox has a pending change of cores or memory for the running VM."""
        pending = self._vm_call("GET", "pending")
        return any("pending" in entry for entry in pending if entry.get("key") in _HARDWARE_KEYS)

    def cycle(self) -> None:
        """Shut down the VM and start it with its current configuration. Raises ``OperationError``.

        If the guest does not shut down in time, Proxmox stops the VM. If the VM is already off
        because an earlier run was stopped here, it is only started.
        """
        if self._vm_call("GET", "status/current")["status"] == "running":
            failure = self._run_task("reboot", {"timeout": str(SHUTDOWN_TIMEOUT_S)})
            if not failure:
                return
            if _SHUTDOWN_FAILED not in failure:
                raise self._failed("reboot", failure)
            if failure := self._run_task("stop"):
                raise self._failed("stop", failure)
        if failure := self._run_task("start"):
            raise self._failed("start", failure)

    def _run_task(self, action: str, form: Mapping[str, str] | None = None) -> str:
        """Start a task and wait for its end; returns its error, empty if it succeeded."""
        task = self._vm_call("POST", f"status/{action}", form or {})
        return proxmox_api.wait_for_task(self._call, task, SHUTDOWN_TIMEOUT_S + 60)

    def _failed(self, action: str, failure: str) -> OperationError:
        return OperationError(
            f"Proxmox could not {action} VM {self.vm_id}: {failure}. Check the VM in Proxmox, then "
            "run `up` again."
        )

    def running_vms(self, stack_tag: str) -> frozenset[str]:
        """The names of the running VMs with this tag. Raises ``ProxmoxError``."""
        guests = self._call("/cluster/resources?type=vm")
        return frozenset(
            str(guest.get("name"))
            for guest in guests
            if stack_tag in proxmox_api.tags_of(guest) and guest["status"] == "running"
        )

    def _vm_call(self, method: str, path: str, form: Mapping[str, str] | None = None) -> Any:
        return self._call(f"/nodes/{self.host}/qemu/{self.vm_id}/{path}", method, form)

    def _call(self, path: str, method: str = "GET", form: Mapping[str, str] | None = None) -> Any:
        return proxmox_api.caller(self.proxmox, _ANSWER_TIMEOUT_S)(path, method, form)
