"""The ports of the kubelets: each leads to kwok, which answers for all nodes."""

from __future__ import annotations

import asyncio
import contextlib

from ..talos.machine import Machine

PORT = 10250
"""Where the API server looks for a kubelet that names no other port."""
_CHUNK = 65536


class KubeletPorts:
    """A door at the address of each machine that has power, and all lead to one place."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._doors: dict[str, asyncio.Server] = {}

    async def follow(self, machines: list[Machine]) -> None:
        """Open those of the machines, and close all others."""
        addresses = {machine.address for machine in machines}
        for address in addresses - self._doors.keys():
            self._doors[address] = await asyncio.start_server(self._pass_on, address, PORT)
        for address in self._doors.keys() - addresses:
            self._doors.pop(address).close()

    async def stop(self) -> None:
        """Close all."""
        await self.follow([])

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            theirs, ours = await asyncio.open_connection(self._host, self._port)
            await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    target.close()
