"""Traefik's settings for the ACME challenge: HTTP-01 (port 80) or DNS-01 (doc.traefik.io, ACME)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from settings.charts import DnsChallenge

SECRET = "traefik-dns"
"""The Kubernetes Secret with Traefik's credentials for the DNS provider."""


def challenge(dns: DnsChallenge | None) -> dict[str, Any]:
    """Return the challenge of a certificate resolver: DNS-01, or HTTP-01 if ``dns`` is ``None``."""
    if dns is None:
        return {"httpChallenge": {"entryPoint": "web"}}
    options: dict[str, Any] = {"provider": dns.provider}
    if dns.resolvers:
        options["resolvers"] = [f"{server}:53" for server in dns.resolvers]
    # Traefik 3.7.6 to 3.7.12 waits, if this block is missing, until the resolvers show the record,
    # which the DNS server of a home network may never do (traefik/traefik#13697).
    options["propagation"] = {"requireAllRNS": False}
    if dns.delay_s:
        options["propagation"]["delayBeforeChecks"] = f"{dns.delay_s}s"
    return {"dnsChallenge": options}


def domains(dns: DnsChallenge | None, host: str | None = None) -> dict[str, Any]:
    """Return the key ``domains`` of a TLS section: the wildcard certificates of the settings.

    With a ``host``, only wildcards that include it. Empty if there are none: then Traefik requests
    a certificate for the host of each route.
    """
    wildcards = dns.wildcards if dns else ()
    fitting = [it for it in wildcards if host is None or it in (host, host.partition(".")[2])]
    requested = [{"main": domain, "sans": [f"*.{domain}"]} for domain in fitting]
    return {"domains": requested} if requested else {}


def credentials(dns: DnsChallenge) -> dict[str, str]:
    """Return the credentials for the DNS provider, by name of the environment variable."""
    return {name: value.get_secret_value() for name, value in dns.credentials.items()}


def environment_values(dns: DnsChallenge | None) -> dict[str, Any]:
    """Values of Traefik's chart that pass the Secret's credentials as environment variables."""
    if dns is None:
        return {}
    return {
        "deployment": {"podAnnotations": {"ephemeral-castle/dns": digest(credentials(dns))}},
        "envFrom": [{"secretRef": {"name": SECRET}}],
    }


def digest(secret: Mapping[str, str]) -> str:
    """Return a hash of the credentials for a pod annotation: new credentials restart the pod.

    scrypt is slow, so that a weak password cannot be guessed from the annotation.
    """
    text = json.dumps(secret, sort_keys=True).encode()
    salt = b"ephemeral-castle"
    return hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1, dklen=16).hex()
