"""The error of the Talos API, for direct calls and for talosctl."""

from __future__ import annotations

from clients.errors import ClientError

UNKNOWN = 2
ALREADY_EXISTS = 6
UNIMPLEMENTED = 12
"""Three of gRPC's status codes (grpc/grpc doc/statuscodes.md)."""


class TalosError(ClientError):
    """A call of a node's Talos API failed, directly or through ``talosctl``.

    ``operation`` is the procedure or the command, ``subject`` the address of the node, ``status``
    the gRPC status code. It is ``None`` if there was no connection or no answer, and ``UNKNOWN``
    for any other failure of ``talosctl``, which does not report the code.
    """

    def __str__(self) -> str:
        return f"{self.operation} on {self.subject}: {self.detail}"
