"""The errors of operations and of the clients, with messages for the user."""

from __future__ import annotations

import socket
import ssl
import urllib.error


class OperationError(Exception):
    """An operation was refused or failed. The message has the problem, the reason and the fix."""


class ClientError(OperationError):
    """A request to an API failed. The fields say what failed; the text is a message with them."""

    def __init__(
        self, operation: str, subject: str, detail: str, status: int | None = None
    ) -> None:
        super().__init__(operation, subject, detail, status)
        self.operation = operation
        """The request, as in ``GET /nodes``."""
        self.subject = subject
        """The address or URL of the server."""
        self.detail = detail
        """The reason: the server's own message, or why there was no answer. No period at the end.
        """
        self.status = status
        """The status code of the answer; ``None`` if there was no valid answer."""


def describe_failure(error: Exception) -> str:
    """The reason for which a request got no valid answer, in a few words without a period."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, socket.gaierror):
        return "this machine cannot resolve its name"
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    if isinstance(cause, LookupError | TypeError):
        return "the answer has an unexpected form"
    return str(cause) or type(cause).__name__
