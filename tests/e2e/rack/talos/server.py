"""A machine's presence on the network: its TLS front and the gRPC server behind it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from ..certificates import CertificateAuthority
from .front import TlsFront, maintenance_context, mutual_context
from .machine import Machine


class MachineServer:
    """Serves one machine's API at its address while it has power."""

    def __init__(
        self,
        machine: Machine,
        *,
        handlers: Sequence[grpc.GenericRpcHandler],
        authority: Callable[[], CertificateAuthority | None],
        directory: Path,
    ) -> None:
        self.machine = machine
        self._authority = authority
        self._directory = directory
        self._maintenance = maintenance_context(machine.address, directory)
        self._mutual: tuple[bytes, ssl.SSLContext] | None = None
        socket = directory / f"{machine.address}.sock"
        self._grpc = grpc.aio.server()
        self._grpc.add_generic_rpc_handlers(tuple(handlers))
        self._grpc.add_insecure_port(f"unix:{socket}")
        self._front = TlsFront(socket, self._context)

    async def start(self, port: int) -> None:
        """Take the address; raises `OSError` if another process has it."""
        await self._front.start(self.machine.address, port)
        await self._grpc.start()

    async def stop(self) -> None:
        """Leave the network at once."""
        await self._front.stop()
        await self._grpc.stop(grace=None)

    async def cut(self) -> None:
        """Cut all connections; new ones are welcome."""
        await self._front.drop(lambda _: True)

    async def leave_maintenance(self) -> None:
        """Cut the connections that nobody had to authenticate for."""
        await self._front.drop(lambda context: context is self._maintenance)

    def _context(self) -> ssl.SSLContext | None:
        """Choose the TLS context for a new connection; None while there is no certificate."""
        if self.machine.config is None:
            return self._maintenance
        trusted = self.machine.config.machine_ca.certificate
        if self._mutual is None or self._mutual[0] != trusted:
            authority = self._authority()
            if authority is None:
                return None
            context = mutual_context(authority, self.machine.address, self._directory)
            self._mutual = trusted, context
        return self._mutual[1]
