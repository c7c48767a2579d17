"""Check of the DNS entry of the site's name."""

from __future__ import annotations

from collections.abc import Iterator

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from settings.rules import not_public


def check_site_name(context: Context) -> Iterator[Finding]:
    """Check that the site's name resolves to an address that the internet can reach.

    With DNS-01 it may resolve to any address, because Let's Encrypt does not connect to it.
    """
    settings = context.settings
    host, ingress = settings.whoami.host, settings.ingress_address
    uses_dns_01 = settings.traefik.acme.dns is not None
    if not_public(host):
        yield note(host, "is not a public name, so the site gets no trusted certificate")
        return
    try:
        addresses = context.probes.resolve(host)
    except OSError:
        addresses = []
    names = ", ".join(map(str, addresses))
    if uses_dns_01:
        fix = f"{ingress}; if only your own network needs the site, set it in the router's DNS"
    else:
        fix = "the public address on the router's status page"
    fix = f"set an A record of {host} to {fix}"
    if not addresses:
        yield warning(host, "has no address in the DNS, so no browser can open the site", fix)
    elif uses_dns_01:
        yield ok(host, f"resolves to {names}; Let's Encrypt uses DNS-01")
    elif ingress in addresses:
        yield note(
            host,
            f"resolves to the ingress address {ingress} on this machine; its address outside of "
            "your network cannot be checked from here",
            fix,
        )
    elif all(address.is_private for address in addresses):
        text = f"resolves to {names} on this machine, which the internet cannot reach"
        yield warning(host, text, fix)
    else:
        yield note(
            host,
            f"resolves to {names}; the router's public address is not known to this machine",
            f"compare {names} with the router's status page, and forward ports 80 and 443 to "
            f"{ingress} there",
        )
