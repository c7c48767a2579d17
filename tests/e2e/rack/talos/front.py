"""The TLS side of a machine's API, in front of a plain-text gRPC server.

gRPC's own TLS cannot do it: it does not offer Ed25519, with which Talos signs its client
certificates. So TLS ends here, and bytes go on to a unix socket. The
context is chosen anew for each connection; that is the switch from maintenance, where everybody
may ask, to mutual TLS, where only those may whom the machine's authority has signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from ..certificates import CertificateAuthority

_CHUNK = 65536
_FAREWELL = 1
"""Seconds that a client has to close its end of TLS."""
_LOG = logging.getLogger(__name__)


class TlsFront:
    """Listens on one address and passes on what comes through TLS."""

    def __init__(self, backend: Path, context: Callable[[], ssl.SSLContext | None]) -> None:
        self._backend = backend
        self._context = context
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], ssl.SSLContext] = {}

    async def start(self, address: str, port: int) -> None:
        """Listen; an address that another process has raises `OSError`."""
        self._server = await asyncio.start_server(self._accept, address, port)

    async def stop(self) -> None:
        """Stop listening and cut all connections."""
        if self._server:
            self._server.close()
        await self.drop(lambda _: True)

    async def drop(self, unwanted: Callable[[ssl.SSLContext], bool]) -> None:
        """Cut the connections that were made with an unwanted context."""
        tasks = [task for task, context in self._connections.items() if unwanted(context)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = self._context()
        task = asyncio.current_task()
        try:
            if context is not None and task is not None:
                self._connections[task] = context
                await self._serve(reader, writer, context)
            await _close(writer)
        except asyncio.CancelledError:
            pass  # dropped; asyncio.start_server would report the cancellation as an error
        finally:
            if task is not None:
                self._connections.pop(task, None)
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
    ) -> None:
        try:
            await writer.start_tls(context)
        except (ssl.SSLError, OSError) as error:
            # The provider only retries until it times out (C0), so the reason must show here. Its
            # probe without a certificate fails too, rightly, once the machine is configured.
            _LOG.info("%s: TLS handshake failed: %s", writer.get_extra_info("sockname"), error)
            return
        back_reader, back_writer = await asyncio.open_unix_connection(self._backend)
        try:
            await asyncio.gather(_pipe(reader, back_writer), _pipe(back_reader, writer))
        finally:
            back_writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Let go what is still to be said; who has left without a word is not waited for."""
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), _FAREWELL)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def maintenance_context(address: str, directory: Path) -> ssl.SSLContext:
    """Make a context that lets everybody in, with a certificate that nobody can verify."""
    return _context(CertificateAuthority.create("maintenance"), address, directory)


def mutual_context(
    authority: CertificateAuthority, address: str, directory: Path
) -> ssl.SSLContext:
    """Make a context that lets in whom the machine's authority has signed (C0)."""
    context = _context(authority, address, directory)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem.decode())
    return context


def _context(authority: CertificateAuthority, address: str, directory: Path) -> ssl.SSLContext:
    pair = authority.issue(address, hosts=[address])
    chain = directory / f"{address}.pem"
    chain.touch(mode=0o600)
    chain.write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    context.set_alpn_protocols(["h2"])
    return context
