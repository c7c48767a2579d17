"""Mutual TLS for the APIs of Talos and Kubernetes."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pulumi

CREDENTIALS = ("ca_certificate", "client_certificate", "client_key")
"""Input names of client credentials, as in the Talos provider. Each value is PEM in base64."""


def inputs_of(credentials: pulumi.Output[Any]) -> dict[str, pulumi.Output[str]]:
    """The three ``CREDENTIALS`` as secret inputs of a resource."""
    return {name: pulumi.Output.secret(getattr(credentials, name)) for name in CREDENTIALS}


def context_of(credentials: Mapping[str, Any]) -> ssl.SSLContext:
    """Create a TLS client context from the three ``CREDENTIALS``. The key is never in a file."""
    authority, certificate, key = (base64.b64decode(credentials[name]) for name in CREDENTIALS)
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
