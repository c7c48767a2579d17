"""Power-cycles a machine through Proxmox: new memory and cores are there after that."""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api

if TYPE_CHECKING:
    from settings.groups import Endpoint

LIMIT = 600
"""Seconds that a machine has to shut down, before its power is cut."""
_DEAF = "powerdown failed"
"""What Proxmox says of a guest that does not shut down: by itself it never cuts the power
(proxmox/qemu-server src/PVE/QemuServer.pm vm_reboot, _do_vm_stop)."""
_ANSWER_LIMIT = 30
_HARDWARE = ("cores", "memory", "sockets")


@dataclass(frozen=True, kw_only=True)
class Power:
    """The power button of one machine."""

    proxmox: Endpoint
    host: str
    """The Proxmox node."""
    vm_id: int

    @classmethod
    def of(cls, props: Mapping[str, Any]) -> Power:
        """The button of the machine that a resource's inputs name."""
        # Imported here: no other part of a dynamic provider needs the models of the settings.
        from settings.groups import Endpoint

        return cls(
            proxmox=Endpoint(
                endpoint=props["proxmox_endpoint"],
                insecure=props["proxmox_insecure"],
                apiToken=props["proxmox_token"],
            ),
            host=props["host"],
            vm_id=int(props["vm_id"]),
        )

    def status(self) -> str:
        """``running`` or ``stopped``; empty where there is no such machine."""
        try:
            return str(self._ask("GET", "status/current")["status"])
        except OperationError as error:
            if "does not exist" in str(error):
                return ""
            raise

    def has_new_hardware(self) -> bool:
        """Whether cores or memory are configured that the running machine does not have yet."""
        pending = self._ask("GET", "pending")
        return any("pending" in entry for entry in pending if entry.get("key") in _HARDWARE)

    def cycle(self) -> None:
        """Shut the guest down and start it with what is configured now.

        From one that does not shut down in time the power is taken. A machine that is off, because
        a run was stopped in between, is started.
        """
        if self._ask("GET", "status/current")["status"] == "running":
            failure = self._do("reboot", {"timeout": str(LIMIT)})
            if not failure:
                return
            if _DEAF not in failure:
                raise self._failed("reboot", failure)
            if failure := self._do("stop"):
                raise self._failed("stop", failure)
        if failure := self._do("start"):
            raise self._failed("start", failure)

    def _do(self, what: str, form: Mapping[str, str] | None = None) -> str:
        """Have it done, and wait; what it failed of, empty where it went well."""
        task = self._ask("POST", f"status/{what}", form or {})
        try:
            return proxmox_api.wait_for(self._get_from, task, LIMIT + 60)
        except TimeoutError:
            raise OperationError(
                f"Proxmox did not {what} VM {self.vm_id} within {LIMIT} s."
            ) from None

    def _failed(self, what: str, failure: str) -> OperationError:
        return OperationError(f"Proxmox could not {what} VM {self.vm_id}: {failure}.")

    def running(self, stack_tag: str) -> frozenset[str]:
        """The names of the running VMs with this tag. Raises ``OperationError``."""
        guests = self._get_from("/cluster/resources?type=vm")
        return frozenset(
            str(guest.get("name"))
            for guest in guests
            if stack_tag in proxmox_api.tags_of(guest) and guest["status"] == "running"
        )

    def _ask(self, method: str, path: str, form: Mapping[str, str] | None = None) -> Any:
        return self._get_from(f"/nodes/{self.host}/qemu/{self.vm_id}/{path}", method, form)

    def _get_from(
        self, path: str, method: str = "GET", form: Mapping[str, str] | None = None
    ) -> Any:
        call = proxmox_api.caller(self.proxmox, _ANSWER_LIMIT)
        try:
            return call(path, method, form)
        except urllib.error.HTTPError as error:
            error.close()
            raise OperationError(
                f"Proxmox answers {error.code} {error.reason} to {method} {path}."
            ) from None
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise OperationError(
                f"Proxmox at {self.proxmox.endpoint} does not answer as it should: {error}."
            ) from None
