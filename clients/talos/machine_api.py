"""Calls the Talos API of one node: gRPC over HTTP/2 with mutual TLS.

It does not use the gRPC library, because its TLS (BoringSSL) does not support the Ed25519
certificates of Talos. A call first sends all its messages and then receives all answers.
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
"""Port of the Talos API (siderolabs/talos pkg/machinery/constants ApidPort)."""
ANSWER_LIMIT = 10
"""Seconds that the node may send nothing."""
OK = 0
ALREADY_EXISTS = 6
"""Two of gRPC's status codes (grpc/grpc doc/statuscodes.md)."""
_CHUNK = 65536


class TalosCallError(Exception):
    """A node did not answer, or returned an error. The text is the end of a sentence.

    ``status`` is the gRPC status code; ``None`` if there was no answer.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


def call(address: str, context: ssl.SSLContext, procedure: str, message: bytes = b"") -> bytes:
    """Call a procedure, as in ``/machine.MachineService/Bootstrap``, of the node at ``address``.

    ``message`` and the answer are serialized protobuf. Raises ``TalosCallError``.
    """
    return b"".join(stream(address, context, procedure, [message]))


def stream(
    address: str,
    context: ssl.SSLContext,
    procedure: str,
    messages: Iterable[bytes] = (b"",),
    limit: float = ANSWER_LIMIT,
) -> list[bytes]:
    """Call a procedure that receives or sends several messages; returns all messages of the node.

    ``limit`` is the maximum number of seconds without data. Raises ``TalosCallError``.
    """
    with _connected(address, context, limit) as connection:
        answer = _exchange(connection, address, procedure, messages)
    if answer.status != OK:
        raise TalosCallError(
            answer.text or f"it returned gRPC status {answer.status}", answer.status
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
        # In maintenance mode a node has no certificate of the cluster yet.
        raise TalosCallError("it has not applied its machine config yet") from None
    except (OSError, h2.exceptions.H2Error) as error:
        raise TalosCallError(f"it does not answer: {error}") from None


@dataclass
class _Answer:
    status: int | None = None
    text: str = ""
    body: bytearray = field(default_factory=bytearray)

    def read_status(self, headers: Iterable[Any]) -> None:
        """Read the status from trailers, or from the headers of an answer without a body."""
        found: dict[str, str] = dict(headers)
        if "grpc-status" in found:
            self.status = int(found["grpc-status"])
            self.text = urllib.parse.unquote(found.get("grpc-message", ""))
        elif found.get(":status", "200") != "200":
            self.text = f"it answers {found[':status']}"

    def messages(self) -> Iterator[bytes]:
        """The messages in the body, without their gRPC header (compression flag, 4-byte length)."""
        start = 0
        while start < len(self.body):
            end = start + 5 + int.from_bytes(self.body[start + 1 : start + 5], "big")
            yield bytes(self.body[start + 5 : end])
            start = end


class _Exchange:
    """One call: a single HTTP/2 stream on a connection."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http.initiate_connection()
        self._stream = self._http.get_next_available_stream_id()
        self.answer = _Answer()
        self.is_complete = False
        """Whether the node has ended its answer."""

    def send_headers(self, host: str, procedure: str) -> None:
        """Start the call."""
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
        """Send a message within the flow control of the node, unless its answer has ended."""
        rest = b"\0" + len(message).to_bytes(4, "big") + message
        while rest and not self.is_complete:
            window = self._http.local_flow_control_window(self._stream)
            if not window:
                self.receive()
                continue
            size = min(window, self._http.max_outbound_frame_size)
            self._http.send_data(self._stream, rest[:size])
            self._flush()
            rest = rest[size:]

    def end(self) -> None:
        """End the sending side of the call."""
        if not self.is_complete:
            self._http.end_stream(self._stream)
            self._flush()

    def receive(self) -> None:
        """Receive and process the next data."""
        chunk = self._connection.recv(_CHUNK)
        if not chunk:
            raise ConnectionResetError("it closed the connection")
        for event in self._http.receive_data(chunk):
            match event:
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    self.answer.read_status(event.headers or ())
                case h2.events.DataReceived():
                    self.answer.body += event.data or b""
                    self._http.acknowledge_received_data(
                        event.flow_controlled_length or 0, self._stream
                    )
                case h2.events.StreamEnded():
                    self.is_complete = True
                case h2.events.StreamReset() | h2.events.ConnectionTerminated() if (
                    not self.is_complete
                ):
                    raise ConnectionResetError(f"it reset the connection ({event.error_code})")
        self._flush()

    def _flush(self) -> None:
        self._connection.sendall(self._http.data_to_send())


def _exchange(
    connection: ssl.SSLSocket, host: str, procedure: str, messages: Iterable[bytes]
) -> _Answer:
    exchange = _Exchange(connection)
    exchange.send_headers(host, procedure)
    for message in messages:
        exchange.send(message)
    exchange.end()
    while not exchange.is_complete:
        exchange.receive()
    return exchange.answer
