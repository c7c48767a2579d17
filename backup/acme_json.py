"""What stands in the file in which Traefik keeps its ACME account and its certificates.

Its shape is Traefik's own: resolvers by name, each with an account and a list of certificates
(traefik pkg/provider/acme/store.go, StoredData). Nothing secret is taken out of it.
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
    """A certificate, as anybody may see it who opens the site."""

    names: tuple[str, ...]
    """What it was asked for; ``*.example.org`` is good for every name right below."""
    begins: datetime
    ends: datetime

    @property
    def name(self) -> str:
        """All of its names."""
        return ", ".join(self.names)

    def is_good_for(self, host: str) -> bool:
        """Whether a browser would take it for a host, by its names."""
        return bool({host, f"*.{host.partition('.')[2]}"} & set(self.names))


@dataclass(frozen=True)
class Content:
    """What Traefik has of one of Let's Encrypt's servers."""

    servers: frozenset[str]
    """Host names of the servers that the accounts are at; empty before there is one."""
    certificates: tuple[Certificate, ...]

    def __bool__(self) -> bool:
        return bool(self.servers or self.certificates)


def read(content: bytes) -> Content:
    """Read a whole file; raises ``ValueError``, without a word of the content, where it is none.

    An empty file is what Traefik makes before it has anything.
    """
    try:
        resolvers = json.loads(content or b"{}") or {}
        found = [resolver for resolver in resolvers.values() if resolver]
        return Content(
            servers=frozenset(filter(None, map(_server, found))),
            certificates=tuple(sorted(it for resolver in found for it in _certificates(resolver))),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("it is not as Traefik writes it") from None


def _server(resolver: dict[str, Any]) -> str:
    account = resolver.get("Account") or {}
    registration = account.get("Registration") or {}
    return urllib.parse.urlsplit(registration.get("uri") or "").hostname or ""


def _certificates(resolver: dict[str, Any]) -> Iterator[Certificate]:
    for entry in resolver.get("Certificates") or ():
        # The whole chain; the first is the site's own.
        (certificate, *_) = x509.load_pem_x509_certificates(base64.b64decode(entry["certificate"]))
        domain = entry["domain"]
        yield Certificate(
            names=(domain["main"], *(domain.get("sans") or ())),
            begins=certificate.not_valid_before_utc,
            ends=certificate.not_valid_after_utc,
        )
