"""Mutual TLS for the APIs of Talos and Kubernetes."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClientCredentials:
    """Client credentials for mutual TLS. Each value is PEM in base64, as in the Talos provider."""

    ca_certificate: str
    client_certificate: str
    client_key: str


def context_of(credentials: ClientCredentials) -> ssl.SSLContext:
    """Create a TLS client context. The key is never in a file."""
    authority, certificate, key = (
        base64.b64decode(text)
        for text in (
            credentials.ca_certificate,
            credentials.client_certificate,
            credentials.client_key,
        )
    )
    # Talos writes the PEM header "ED25519 PRIVATE KEY" instead of the standard "PRIVATE KEY".
    key = key.replace(b"ED25519 PRIVATE KEY", b"PRIVATE KEY")
    context = ssl.create_default_context(cadata=authority.decode())
    # Python 3.13 requires extensions that the CA of a cluster may not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with _pipe(certificate) as certificate_path, _pipe(key) as key_path:
        context.load_cert_chain(certificate_path, key_path)
    return context


@contextmanager
def _pipe(secret: bytes) -> Iterator[str]:
    """Yield the path of a pipe that contains ``secret``, because Python loads keys only from paths.

    The buffer of a pipe has 64 KiB; a key with its certificate needs a tenth of that.
    """
    reader, writer = os.pipe()
    try:
        os.write(writer, secret)
        os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
