"""Power-cycles a VM through Proxmox, which makes a new number of cores or memory effective."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

    def find_running(self, names: Iterable[str], stack_tag: str) -> list[str]:
        """Which VMs of the stack run, or may run because their host does not answer.

        The list of guests is not enough: in the first ten seconds of a VM it has no name and no
        status, and if a host does not answer, only the last known ones. So this asks each host.
        Raises ``ProxmoxError``.
        """
        running: set[str] = set()
        stopped: set[str] = set()
        is_any_unknown = False
        for guest in self._call("/cluster/resources?type=vm"):
            if stack_tag not in proxmox_api.tags_of(guest):
                continue
            path = f"/nodes/{guest['node']}/qemu/{guest['vmid']}/status/current"
            try:
                current = self._call(path)
                (running if current["status"] == "running" else stopped).add(current["name"])
            except ProxmoxError as error:
                if error.status is None:
                    raise
                if _MISSING not in error.detail:
                    running.add(guest.get("name", ""))
                    is_any_unknown |= not guest.get("name")
        return [
            name for name in names if name in running or (is_any_unknown and name not in stopped)
        ]

    def _vm_call(self, method: str, path: str, form: Mapping[str, str] | None = None) -> Any:
        return self._call(f"/nodes/{self.host}/qemu/{self.vm_id}/{path}", method, form)

    def _call(self, path: str, method: str = "GET", form: Mapping[str, str] | None = None) -> Any:
        return proxmox_api.caller(self.proxmox, _ANSWER_TIMEOUT_S)(path, method, form)
