"""A client of the Talos API: gRPC over the TLS that gRPC's own library cannot do (D4)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from tests.e2e.rack.certificates import KeyPair
from tests.e2e.rack.talos.messages import cosi, talos

_PORT = 50000
_STREAMS = {"Kubeconfig": talos.Data, "Events": talos.Event, "Read": talos.Data}
_STATE = {"Get": cosi.GetResponse, "List": cosi.ListResponse, "Watch": cosi.WatchResponse}


Connection: TypeAlias = "contextlib.AbstractAsyncContextManager[TalosClient]"
Connect: TypeAlias = Callable[..., Connection]
"""Takes an address, and ``insecure=True`` for a machine in maintenance mode."""
Apply: TypeAlias = Callable[[str, bytes], Awaitable[Any]]
"""Takes an address and a configuration."""


class TalosClient:
    """Calls the procedures of one machine."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(
        self, name: str, request: Any = None, *, node: str = "", nodes: list[str] | None = None
    ) -> Any:
        """Call a procedure that answers once."""
        service = "storage.StorageService" if name == "Disks" else "machine.MachineService"
        if name in _STATE:
            service = "cosi.resource.State"
        response = _STATE.get(name) or getattr(talos, f"{name}Response")
        procedure: Any = self._channel.unary_unary(
            f"/{service}/{name}", lambda m: m.SerializeToString(), response.FromString
        )
        metadata = [("node", node)] if node else [("nodes", n) for n in nodes or []]
        return await procedure(request or talos.Empty(), metadata=metadata, timeout=10)

    async def stream(self, name: str, request: Any = None) -> AsyncIterator[Any]:
        """Call a procedure that answers many times."""
        service = "cosi.resource.State" if name in _STATE else "machine.MachineService"
        response = (_STATE | _STREAMS)[name]
        procedure: Any = self._channel.unary_stream(
            f"/{service}/{name}", lambda m: m.SerializeToString(), response.FromString
        )
        async for message in procedure(request or talos.Empty(), timeout=10):
            yield message


@contextlib.asynccontextmanager
async def talos_client(
    address: str, directory: Path, pair: KeyPair | None = None
) -> AsyncIterator[TalosClient]:
    """Connect, with a client certificate or, as in maintenance, without."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if pair:
        chain = directory / "client.pem"
        chain.write_bytes(pair.certificate + pair.key)
        context.load_cert_chain(chain)

    forwarding: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as open_ends:
            open_ends.callback(writer.close)
            try:
                far = await asyncio.open_connection(address, _PORT, ssl=context)
            except OSError:
                return
            open_ends.callback(far[1].close)
            await asyncio.gather(_copy(reader, far[1]), _copy(far[0], writer))

    def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarding.add(asyncio.create_task(pipe(reader, writer)))

    # gRPC remembers the failures of an address, so each connection has its own.
    socket = directory / f"{uuid.uuid4()}.sock"
    server = await asyncio.start_unix_server(forward, socket)
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            yield TalosClient(channel)
    finally:
        # Since Python 3.12 leaving the server itself would wait for these.
        server.close()
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
