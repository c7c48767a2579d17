"""TLS in which both sides show a certificate, as the APIs of Talos and Kubernetes want it."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pulumi

CREDENTIALS = ("ca_certificate", "client_certificate", "client_key")
"""What the providers call them: base64 of PEM each."""


def inputs_of(credentials: pulumi.Output[Any]) -> dict[str, pulumi.Output[str]]:
    """The three ``CREDENTIALS`` as secret inputs of a resource, for its ``context_of``."""
    return {name: pulumi.Output.secret(getattr(credentials, name)) for name in CREDENTIALS}


def context_of(credentials: Mapping[str, Any]) -> ssl.SSLContext:
    """A client's side of TLS with the three ``CREDENTIALS``; the key is never in a file."""
    authority, certificate, key = (base64.b64decode(credentials[name]) for name in CREDENTIALS)
    # Talos writes "ED25519 PRIVATE KEY" over what everybody else calls "PRIVATE KEY".
    key = key.replace(b"ED25519 PRIVATE KEY", b"PRIVATE KEY")
    context = ssl.create_default_context(cadata=authority.decode())
    # Python 3.13 asks for extensions that a cluster's own authority need not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with _readable(certificate) as certificate_path, _readable(key) as key_path:
        context.load_cert_chain(certificate_path, key_path)
    return context


@contextmanager
def _readable(secret: bytes) -> Iterator[str]:
    """A path that gives ``secret`` once, through a pipe: Python reads keys from paths only, and
    this key must not be in a file. A pipe holds 64 KiB, a key and its certificate a tenth of it."""
    reader, writer = os.pipe()
    try:
        os.write(writer, secret)
        os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
