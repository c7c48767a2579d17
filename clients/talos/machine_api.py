"""Calls the Talos API of one node: gRPC over HTTP/2 with mutual TLS.

It does not use the gRPC library, because its TLS (BoringSSL) does not support the Ed25519
certificates of Talos. A call first sends all its messages and then receives all answers.
"""

from __future__ import annotations

import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from clients.errors import describe_failure
from clients.talos.errors import TalosError
from clients.tls import ClientCredentials, context_of

PORT = 50000
"""Port of the Talos API (siderolabs/talos pkg/machinery/constants ApidPort)."""
ANSWER_LIMIT = 10
"""Seconds that the node may send nothing."""
CONNECT_TIMEOUT_S = 2.0
"""Seconds to connect to a node in the local network, to see whether it is there."""
_TRIES = 3
"""Number of attempts of ``MachineApi`` if a node does not answer."""
_MACHINE_LIMIT = 30
"""Seconds that a node may send nothing in a call of ``MachineApi``."""
_PAUSE_S = 2
"""Seconds between two attempts."""
_OK = 0
_DISKS = "/storage.StorageService/Disks"
_CHUNK = 65536

Watch = Callable[[bytes], None]
"""Gets each message of a node when it arrives. An exception that it raises ends the call."""


def call(address: str, context: ssl.SSLContext, procedure: str, message: bytes = b"") -> bytes:
    """Call a procedure, as in ``/machine.MachineService/Bootstrap``, of the node at ``address``.

    ``message`` and the answer are serialized protobuf. Raises ``TalosError``.
    """
    return b"".join(stream(address, context, procedure, [message]))


def stream(
    address: str,
    context: ssl.SSLContext,
    procedure: str,
    messages: Iterable[bytes] = (b"",),
    limit: float = ANSWER_LIMIT,
    watch: Watch | None = None,
) -> list[bytes]:
    """Call a procedure that receives or sends several messages; returns all messages of the node.

    ``limit`` is the maximum number of seconds without data. ``watch`` gets each message, too.
    Raises ``TalosError``.
    """
    operation = procedure.rpartition("/")[2]
    with _connected(address, context, limit, operation) as connection:
        answer = _exchange(connection, address, procedure, messages, watch)
    if answer.status != _OK:
        raise TalosError(
            operation,
            address,
            answer.text or f"it returned gRPC status {answer.status}",
            answer.status,
        )
    return answer.messages


class MachineApi:
    """The machine service of the nodes of one cluster."""

    def __init__(self, credentials: ClientCredentials) -> None:
        """``credentials`` are a Talos client."""
        self._tls = context_of(credentials)

    def call(self, address: str, procedure: str, message: bytes = b"") -> bytes:
        """Call a procedure once, as in ``EtcdStatus``. Raises ``TalosError``."""
        path = f"/machine.MachineService/{procedure}"
        return b"".join(stream(address, self._tls, path, [message], _MACHINE_LIMIT))

    def read(self, address: str, procedure: str, message: bytes = b"") -> bytes:
        """Call a procedure that changes nothing; repeat the call if the node does not answer.

        Raises ``TalosError``.
        """
        for _ in range(_TRIES - 1):
            try:
                return self.call(address, procedure, message)
            except TalosError as error:
                if error.status is not None:
                    raise
            time.sleep(_PAUSE_S)
        return self.call(address, procedure, message)


def is_unconfigured(address: str, limit: float = CONNECT_TIMEOUT_S) -> bool | None:
    """Whether the node at ``address`` is in Talos' maintenance mode: booted, but without a machine
    config. ``None`` if nothing answers within ``limit`` seconds.

    In this mode the Talos API answers without a client certificate; with a config it requires one.
    The Talos provider makes the same check (siderolabs/terraform-provider-talos
    pkg/talos/util.go talosClientOp).
    """
    try:
        with socket.create_connection((address, PORT), timeout=limit):
            pass
    except OSError:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        call(address, context, _DISKS)
    except TalosError:
        return False
    return True


@contextmanager
def _connected(
    address: str, context: ssl.SSLContext, limit: float, operation: str
) -> Iterator[ssl.SSLSocket]:
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((address, PORT), timeout=limit) as plain,
            context.wrap_socket(plain, server_hostname=address) as connection,
        ):
            yield connection
    except ssl.SSLCertVerificationError:
        # In maintenance mode a node has no certificate of the cluster yet.
        detail = "it has not applied its machine config yet"
        raise TalosError(operation, address, detail) from None
    except (OSError, h2.exceptions.H2Error) as error:
        detail = f"it does not answer: {describe_failure(error)}"
        raise TalosError(operation, address, detail) from None


@dataclass
class _Answer:
    status: int | None = None
    text: str = ""
    messages: list[bytes] = field(default_factory=list)
    """The messages so far."""
    _rest: bytearray = field(default_factory=bytearray)

    def read_status(self, headers: Iterable[Any]) -> None:
        """Read the status from trailers, or from the headers of an answer without a body."""
        found: dict[str, str] = dict(headers)
        if "grpc-status" in found:
            self.status = int(found["grpc-status"])
            self.text = urllib.parse.unquote(found.get("grpc-message", ""))
        elif found.get(":status", "200") != "200":
            self.text = f"it answers {found[':status']}"

    def read_data(self, data: bytes) -> None:
        """Read a part of the body: messages with their gRPC header (flag, 4-byte length)."""
        self._rest += data
        while len(self._rest) >= (end := 5 + int.from_bytes(self._rest[1:5], "big")):
            self.messages.append(bytes(self._rest[5:end]))
            del self._rest[:end]


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
                    self.answer.read_data(event.data or b"")
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
    connection: ssl.SSLSocket,
    host: str,
    procedure: str,
    messages: Iterable[bytes],
    watch: Watch | None,
) -> _Answer:
    exchange = _Exchange(connection)
    exchange.send_headers(host, procedure)
    for message in messages:
        exchange.send(message)
    exchange.end()
    watched = 0
    while not exchange.is_complete:
        exchange.receive()
        if watch is not None:
            for message in exchange.answer.messages[watched:]:
                watch(message)
            watched = len(exchange.answer.messages)
    return exchange.answer
