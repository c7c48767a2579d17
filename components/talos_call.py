"""One call to the API of a Talos machine: gRPC over HTTP/2 over mutual TLS.

Not by the gRPC library: its TLS does not know Ed25519, with which Talos signs all certificates
(facts/providers.md D4). Leaves out streams, and calls that are passed on to other machines.
"""

from __future__ import annotations

import socket
import ssl
import urllib.parse
from collections.abc import Iterable
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
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((address, PORT), timeout=ANSWER_LIMIT) as plain,
            context.wrap_socket(plain, server_hostname=address) as connection,
        ):
            answer = _exchange(connection, address, procedure, message)
    except ssl.SSLCertVerificationError:
        # In maintenance mode a machine has no certificate of the cluster yet.
        raise TalosCallError("it has not taken up its machine config yet") from None
    except (OSError, h2.exceptions.H2Error) as error:
        raise TalosCallError(f"it does not answer: {error}") from None
    if answer.status != OK:
        raise TalosCallError(
            answer.text or f"it refuses with status {answer.status}", answer.status
        )
    return answer.message


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

    @property
    def message(self) -> bytes:
        """The message, without gRPC's flag of compression and its length in four bytes."""
        return bytes(self.body[5:])


def _exchange(connection: ssl.SSLSocket, host: str, procedure: str, message: bytes) -> _Answer:
    http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    http.initiate_connection()
    stream = http.get_next_available_stream_id()
    headers = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", f"{host}:{PORT}"),
        (":path", procedure),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    http.send_headers(stream, headers)
    http.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
    connection.sendall(http.data_to_send())
    answer = _Answer()
    while chunk := connection.recv(_CHUNK):
        for event in http.receive_data(chunk):
            match event:
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    answer.take(event.headers or ())
                case h2.events.DataReceived():
                    answer.body += event.data or b""
                    http.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                case h2.events.StreamEnded():
                    return answer
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise ConnectionResetError(f"it cut the connection ({event.error_code})")
        connection.sendall(http.data_to_send())
    raise ConnectionResetError("it closed the connection")
