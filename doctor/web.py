"""HTTP requests, and the certificate of a server, both with time limits."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from clients.errors import describe_failure

SILENCE_TIMEOUT_S = 10
"""Seconds to wait for a connection, and for the next data of an answer."""
ANSWER_TIMEOUT_S = 30
"""Seconds that a complete answer may take."""
_MAX_ANSWER_SIZE = 32 * 1024**2
"""Maximum size of an answer in bytes. The index of a chart repository has a few MiB."""


def fetch(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Read the content of a URL.

    Raises ``OSError`` (its subclass ``urllib.error.HTTPError`` for an error status),
    ``http.client.HTTPException``, or ``ValueError`` if the answer is too large.
    """
    end = time.monotonic() + ANSWER_TIMEOUT_S
    request = urllib.request.Request(url)
    for name, value in (headers or {}).items():
        # A registry redirects to a storage that refuses the registry's token.
        add = request.add_unredirected_header if name == "Authorization" else request.add_header
        add(name, value)
    with urllib.request.urlopen(request, timeout=SILENCE_TIMEOUT_S) as answer:
        content = bytearray()
        while block := answer.read1(1 << 20):
            content += block
            if len(content) > _MAX_ANSWER_SIZE:
                raise ValueError(f"the answer is larger than {_MAX_ANSWER_SIZE >> 20} MiB")
            if time.monotonic() > end:
                raise TimeoutError(f"the answer takes longer than {ANSWER_TIMEOUT_S} s")
        return bytes(content)


def reason(error: Exception) -> str:
    """Describe in a few words why a request failed."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"it answers {error.code} {error.reason}"
    return describe_failure(error)


FETCH_ERRORS = (OSError, ValueError, http.client.HTTPException)
"""The errors that ``fetch`` raises."""


@dataclass(frozen=True)
class ServerCertificate:
    """The certificate of a server."""

    fingerprint: str
    """SHA-256, as Proxmox shows it: ``AB:CD:...``."""
    problem: str = ""
    """OpenSSL's reason if this machine does not trust the certificate; empty if it does."""
    code: int = 0
    """OpenSSL's error code; 0 if the certificate is trusted."""
    expires: datetime | None = None
    """The expiry; None if the certificate is not trusted."""


def read_certificate(url: str) -> ServerCertificate:
    """Read and verify the certificate of an https server. Raises ``OSError``."""
    parts = urllib.parse.urlsplit(url)
    address = (str(parts.hostname), parts.port or 443)
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    with _connect(address, unverified) as connection:
        certificate = connection.getpeercert(binary_form=True) or b""
    digest = hashlib.sha256(certificate).hexdigest().upper()
    fingerprint = ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
    verified = ssl.create_default_context()
    verified.verify_flags &= ~ssl.VERIFY_X509_STRICT  # The same as in `proxmox_api.caller`.
    try:
        with _connect(address, verified) as connection:
            details = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return ServerCertificate(fingerprint, error.verify_message, error.verify_code)
    end = ssl.cert_time_to_seconds(str(details["notAfter"]))
    return ServerCertificate(fingerprint, expires=datetime.fromtimestamp(end, UTC))


@contextmanager
def _connect(address: tuple[str, int], context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(address, timeout=SILENCE_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as connection,
    ):
        yield connection
        # Send a TLS close notification, because some servers wait for it for half a minute. Do not
        # wait for the server's notification.
        connection.settimeout(0)
        with suppress(OSError):
            connection.unwrap()
