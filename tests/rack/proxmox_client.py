"""A client of the Proxmox VE API that does what the provider does."""

from __future__ import annotations

import ssl
import urllib.parse
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.rack.rack import Rack

IMAGE_URL = "https://images.test/image/some-schematic/v1.13.9/nocloud-amd64.qcow2"
IMAGE = "local:import/talos.qcow2"


class RefusedError(Exception):
    """The API said no."""

    def __init__(self, status: int, reason: str, errors: dict[str, str]) -> None:
        super().__init__(f"{status} {reason} {errors}")
        self.status = status
        self.reason = reason
        self.errors = errors


class ProxmoxClient:
    """Talks to the API of a rack."""

    def __init__(
        self, endpoint: str, token: str, ca_file: str | Path, *, node: str = "pve"
    ) -> None:
        self.node = node
        self._base = f"{endpoint}api2/json"
        self._headers = {"Authorization": f"PVEAPIToken={token}"}
        self._tls = ssl.create_default_context(cafile=ca_file)

    @classmethod
    def of(cls, rack: Rack) -> ProxmoxClient:
        """Connect to a rack in this process."""
        return cls(rack.endpoint, rack.api_token, rack.ca_file)

    async def call(self, method: str, path: str, **parameters: object) -> Any:
        """Make a call, and wait for its task if it makes one."""
        values = {key.replace("_", "-"): str(value) for key, value in parameters.items()}
        in_query = method in {"GET", "DELETE"}
        async with (
            aiohttp.ClientSession(headers=self._headers) as session,
            session.request(
                method,
                self._base + path,
                ssl=self._tls,
                params=values if in_query else None,
                data=None if in_query else values,
            ) as response,
        ):
            # Proxmox refuses a wrong token with an empty body.
            body = await response.json() if response.content_type == "application/json" else {}
            if response.status >= 400:
                errors = body.get("errors", {})
                raise RefusedError(response.status, response.reason or "", errors)
        if isinstance(body["data"], str) and body["data"].startswith("UPID:"):
            await self._wait(body["data"])
        return body["data"]

    async def download_image(self, filename: str = "talos.qcow2", url: str = IMAGE_URL) -> None:
        """Download an image to ``local``."""
        await self.call(
            "POST",
            f"/nodes/{self.node}/storage/local/download-url",
            content="import",
            filename=filename,
            url=url,
        )

    async def create_vm(self, vmid: int, address: str, **parameters: object) -> None:
        """Create a VM like the provider does for a machine with a data disk."""
        values: dict[str, object] = {
            "name": f"vm{vmid}",
            "memory": 4096,
            "agent": "enabled=1,fstrim_cloned_disks=1,type=virtio",
            "boot": "order=scsi0",
            "ide2": "file=local-lvm:cloudinit,",
            "ide3": "file=none,media=cdrom,",
            "ipconfig0": f"gw=127.0.0.1,ip={address}/24",
            "net0": "model=virtio,bridge=vmbr0,firewall=0,macaddr=BC:24:11:00:00:65",
            "scsi0": f"file=local-lvm:0,import-from={IMAGE},size=10737418240,ssd=1",
            "scsi1": "file=local-lvm:43,size=46170898432,serial=longhorn",
        }
        await self.call("POST", f"/nodes/{self.node}/qemu", vmid=vmid, **(values | parameters))

    async def boot_machine(self, vmid: int, address: str, **parameters: object) -> None:
        """Create a VM, grow its disk and start it."""
        await self.create_vm(vmid, address, **parameters)
        await self.vm(vmid, "PUT", "resize", disk="scsi0", size=10 * 1024**3)
        await self.vm(vmid, "POST", "status/start")

    async def vm(self, vmid: int, method: str, path: str, **parameters: object) -> Any:
        """Make a call for one VM."""
        return await self.call(method, f"/nodes/{self.node}/qemu/{vmid}/{path}", **parameters)

    async def _wait(self, upid: str) -> None:
        path = f"/nodes/{self.node}/tasks/{urllib.parse.quote(upid, safe='')}/status"
        while (status := await self.call("GET", path))["status"] == "running":
            pass
        if status["exitstatus"] != "OK":
            raise RefusedError(0, status["exitstatus"], {})
