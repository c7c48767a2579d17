"""Reads ``acme.json``, in which Traefik stores its ACME account and its certificates.

The format is Traefik's: resolvers by name, each with an account and a list of certificates (traefik
pkg/provider/acme/store.go, StoredData). The result contains no secrets.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509


@dataclass(frozen=True, order=True)
class Certificate:
    """The public data of a certificate."""

    names: tuple[str, ...]
    """Host names of the certificate; ``*.example.org`` is a wildcard."""
    begins: datetime
    """Start of its validity, in UTC."""
    ends: datetime
    """End of its validity, in UTC."""

    @property
    def name(self) -> str:
        """All host names, separated by commas."""
        return ", ".join(self.names)


@dataclass(frozen=True)
class Content:
    """The accounts and certificates in a file. False if there are none."""

    servers: frozenset[str]
    """Host names of the ACME servers of the accounts."""
    certificates: tuple[Certificate, ...]

    def __bool__(self) -> bool:
        return bool(self.servers or self.certificates)


def read(content: bytes) -> Content:
    """Read the content of ``acme.json``.

    An empty file is valid, because Traefik creates one before its first account. Raises
    ``ValueError`` for other content; the message does not quote the content.
    """
    try:
        resolvers = json.loads(content or b"{}") or {}
        found = [resolver for resolver in resolvers.values() if resolver]
        return Content(
            servers=frozenset(filter(None, map(_server, found))),
            certificates=tuple(sorted(c for resolver in found for c in _certificates(resolver))),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("it is not a file that Traefik wrote") from None


def _server(resolver: dict[str, Any]) -> str:
    account = resolver.get("Account") or {}
    registration = account.get("Registration") or {}
    return urllib.parse.urlsplit(registration.get("uri") or "").hostname or ""


def _certificates(resolver: dict[str, Any]) -> Iterator[Certificate]:
    for entry in resolver.get("Certificates") or ():
        # The first certificate of the chain is the one of the host.
        (certificate, *_) = x509.load_pem_x509_certificates(base64.b64decode(entry["certificate"]))
        domain = entry["domain"]
        yield Certificate(
            names=(domain["main"], *(domain.get("sans") or ())),
            begins=certificate.not_valid_before_utc,
            ends=certificate.not_valid_after_utc,
        )
