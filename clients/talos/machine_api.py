"""One call to the API of a Talos machine: gRPC over HTTP/2 over mutual TLS.

Not by the gRPC library: its TLS does not know Ed25519, with which Talos signs all certificates
(facts/providers.md D4). A call may send and receive many messages, first all of the one and then
all of the other. Leaves out calls that are passed on to other machines.
"""

from __future__ import annotations

import socket
import ssl
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

PORT = 50000
"""Where apid listens (siderolabs/talos pkg/machinery/constants ApidPort)."""
ANSWER_LIMIT = 10
"""Seconds that the machine may be silent."""
OK = 0
ALREADY_EXISTS = 6
"""Two of gRPC's status codes (grpc/grpc doc/statuscodes.md)."""
_CHUNK = 65536


class TalosCallError(Exception):
    """The machine could not be asked, or refused; the text says why.

    ``status`` is gRPC's status code of a refusal, ``None`` where there was no answer.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


def call(address: str, context: ssl.SSLContext, procedure: str, message: bytes = b"") -> bytes:
    """Call ``procedure`` (``/machine.MachineService/Bootstrap``) of the machine at ``address``.

    ``message`` and the answer are protobuf, serialised. Raises ``TalosCallError``.
    """
    return b"".join(stream(address, context, procedure, [message]))


def stream(
    address: str,
    context: ssl.SSLContext,
    procedure: str,
    messages: Iterable[bytes] = (b"",),
    limit: float = ANSWER_LIMIT,
) -> list[bytes]:
    """Call a procedure that takes or gives many messages; returns all that it gives.

    ``limit`` is for how many seconds the machine may be silent. Raises ``TalosCallError``.
    """
    with _connected(address, context, limit) as connection:
        answer = _exchange(connection, address, procedure, messages)
    if answer.status != OK:
        raise TalosCallError(
            answer.text or f"it refuses with status {answer.status}", answer.status
        )
    return list(answer.messages())


@contextmanager
def _connected(address: str, context: ssl.SSLContext, limit: float) -> Iterator[ssl.SSLSocket]:
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((address, PORT), timeout=limit) as plain,
            context.wrap_socket(plain, server_hostname=address) as connection,
        ):
            yield connection
    except ssl.SSLCertVerificationError:
        # In maintenance mode a machine has no certificate of the cluster yet.
        raise TalosCallError("it has not taken up its machine config yet") from None
    except (OSError, h2.exceptions.H2Error) as error:
        raise TalosCallError(f"it does not answer: {error}") from None


@dataclass
class _Answer:
    status: int | None = None
    text: str = ""
    body: bytearray = field(default_factory=bytearray)

    def take(self, headers: Iterable[Any]) -> None:
        """Take the status from trailers, or from the headers of an answer without a body."""
        found: dict[str, str] = dict(headers)
        if "grpc-status" in found:
            self.status = int(found["grpc-status"])
            self.text = urllib.parse.unquote(found.get("grpc-message", ""))
        elif found.get(":status", "200") != "200":
            self.text = f"it answers {found[':status']}"

    def messages(self) -> Iterator[bytes]:
        """Each message, without gRPC's flag of compression and its length in four bytes."""
        place = 0
        while place < len(self.body):
            end = place + 5 + int.from_bytes(self.body[place + 1 : place + 5], "big")
            yield bytes(self.body[place + 5 : end])
            place = end


class _Exchange:
    """One stream of HTTP/2 on a connection of its own."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http.initiate_connection()
        self._stream = self._http.get_next_available_stream_id()
        self.answer = _Answer()
        self.over = False
        """Whether the machine has said all that it will."""

    def ask(self, host: str, procedure: str) -> None:
        """Send the headers of a call."""
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", f"{host}:{PORT}"),
            (":path", procedure),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        self._http.send_headers(self._stream, headers)

    def send(self, message: bytes) -> None:
        """Send a message, as fast as the machine takes it; nothing once it has ended the call."""
        left = b"\0" + len(message).to_bytes(4, "big") + message
        while left and not self.over:
            room = self._http.local_flow_control_window(self._stream)
            if not room:
                self.receive()
                continue
            size = min(room, self._http.max_outbound_frame_size)
            self._http.send_data(self._stream, left[:size])
            self._flush()
            left = left[size:]

    def end(self) -> None:
        """Say that no more messages come."""
        if not self.over:
            self._http.end_stream(self._stream)
            self._flush()

    def receive(self) -> None:
        """Take what the machine says next."""
        chunk = self._connection.recv(_CHUNK)
        if not chunk:
            raise ConnectionResetError("it closed the connection")
        for event in self._http.receive_data(chunk):
            match event:
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    self.answer.take(event.headers or ())
                case h2.events.DataReceived():
                    self.answer.body += event.data or b""
                    self._http.acknowledge_received_data(
                        event.flow_controlled_length or 0, self._stream
                    )
                case h2.events.StreamEnded():
                    self.over = True
                case h2.events.StreamReset() | h2.events.ConnectionTerminated() if not self.over:
                    raise ConnectionResetError(f"it cut the connection ({event.error_code})")
        self._flush()

    def _flush(self) -> None:
        self._connection.sendall(self._http.data_to_send())


def _exchange(
    connection: ssl.SSLSocket, host: str, procedure: str, messages: Iterable[bytes]
) -> _Answer:
    exchange = _Exchange(connection)
    exchange.ask(host, procedure)
    for message in messages:
        exchange.send(message)
    exchange.end()
    while not exchange.over:
        exchange.receive()
    return exchange.answer
