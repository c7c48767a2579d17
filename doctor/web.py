"""Asking servers: files over HTTP, and the certificate that a server shows. Each has a limit."""

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

LIMIT = 10
"""Seconds that a server may be silent."""
LONGEST = 30
"""Seconds that one answer may take as a whole."""
_LARGEST = 32 * 1024**2
"""Bytes of the largest answer that is read: the index of a chart repository has a few MiB."""


def fetch(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """What lies at an address. Raises ``OSError`` (``urllib.error.HTTPError`` among them),
    ``http.client.HTTPException``, or ``ValueError`` for an answer that is too large."""
    end = time.monotonic() + LONGEST
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        found = bytearray()
        while block := answer.read1(1 << 20):
            found += block
            if len(found) > _LARGEST:
                raise ValueError(f"the answer is larger than {_LARGEST >> 20} MiB")
            if time.monotonic() > end:
                raise TimeoutError(f"the answer takes longer than {LONGEST} s")
        return bytes(found)


def reason(error: Exception) -> str:
    """Why a server could not be asked, in few words."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"it answers {error.code} {error.reason}"
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, socket.gaierror):
        return "its name is not known here"
    if isinstance(cause, TimeoutError):
        return f"no answer within {LIMIT} s"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


ASKING = (OSError, ValueError, http.client.HTTPException)
"""What ``fetch`` raises."""


@dataclass(frozen=True)
class Certificate:
    """The certificate that a server shows."""

    fingerprint: str
    """SHA-256, as Proxmox shows it: ``AB:CD:...``."""
    problem: str = ""
    """Why it is not trusted here, in the words of OpenSSL; empty where it is."""
    code: int = 0
    """OpenSSL's number of the problem."""
    expires: datetime | None = None
    """When it ends; known only of one that is trusted."""


def certificate(url: str) -> Certificate:
    """Look at the certificate of an https server. Raises ``OSError``."""
    parts = urllib.parse.urlsplit(url)
    place = (str(parts.hostname), parts.port or 443)
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    with _connect(place, anybody) as connection:
        shown = connection.getpeercert(binary_form=True) or b""
    digest = hashlib.sha256(shown).hexdigest().upper()
    fingerprint = ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
    strict = ssl.create_default_context()
    strict.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as proxmox_api.caller has it
    try:
        with _connect(place, strict) as connection:
            details = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Certificate(fingerprint, error.verify_message, error.verify_code)
    end = ssl.cert_time_to_seconds(str(details["notAfter"]))
    return Certificate(fingerprint, expires=datetime.fromtimestamp(end, UTC))


@contextmanager
def _connect(place: tuple[str, int], context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(place, timeout=LIMIT) as plain,
        context.wrap_socket(plain, server_hostname=place[0]) as connection,
    ):
        yield connection
        # Take leave, or some servers wait for it for half a minute; do not wait for theirs.
        connection.settimeout(0)
        with suppress(OSError):
            connection.unwrap()
