"""How it is proved to Let's Encrypt that a name is ours: over port 80, or by the DNS.

In the words of Traefik's settings (doc.traefik.io, ACME).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from settings.charts import DnsChallenge

SECRET = "traefik-dns"
"""The Secret with what Traefik signs in with at the provider of the DNS."""


def challenge(dns: DnsChallenge | None) -> dict[str, Any]:
    """The challenge of a resolver: HTTP-01, which needs port 80, or DNS-01."""
    if dns is None:
        return {"httpChallenge": {"entryPoint": "web"}}
    asked: dict[str, Any] = {"provider": dns.provider}
    if dns.resolvers:
        asked["resolvers"] = [f"{server}:53" for server in dns.resolvers]
    if dns.delay_s:
        asked["propagation"] = {"delayBeforeChecks": f"{dns.delay_s}s"}
    return {"dnsChallenge": asked}


def domains(dns: DnsChallenge | None, host: str | None = None) -> dict[str, Any]:
    """What TLS asks for in place of a route's own host: certificates with a wildcard.

    With a ``host`` only one that is good for it. Empty where there is none.
    """
    wildcards = dns.wildcards if dns else ()
    fitting = [it for it in wildcards if host is None or it in (host, host.partition(".")[2])]
    asked = [{"main": domain, "sans": [f"*.{domain}"]} for domain in fitting]
    return {"domains": asked} if asked else {}


def credentials(dns: DnsChallenge | None) -> dict[str, str] | None:
    """What Traefik signs in with at the provider, by the names of environment variables."""
    if dns is None:
        return None
    return {name: value.get_secret_value() for name, value in dns.credentials.items()}


def sign_in(dns: DnsChallenge | None) -> dict[str, Any]:
    """Values of Traefik's chart that hand it the credentials, as its environment."""
    secret = credentials(dns)
    if secret is None:
        return {}
    return {
        "deployment": {"podAnnotations": {"ephemeral-castle/dns": digest(secret)}},
        "envFrom": [{"secretRef": {"name": SECRET}}],
    }


def digest(secret: Mapping[str, str]) -> str:
    """Another one for other credentials: a pod reads its environment once, when it starts.

    Slow to make, so that a weak password cannot be guessed from it.
    """
    text = json.dumps(secret, sort_keys=True).encode()
    salt = b"ephemeral-castle"
    return hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1, dklen=16).hex()
