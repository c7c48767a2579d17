"""The way in from the internet: what can be seen of it from within, and what cannot."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from settings.rules import not_public

SHARED = IPv4Network("100.64.0.0/10")
"""Addresses that a provider shares among its customers (RFC 6598, carrier-grade NAT)."""


def names(context: Context) -> Iterator[Finding]:
    """The site's name leads to the router's public address, as far as either is known."""
    settings = context.settings
    host = settings.whoami.host
    if not_public(host):
        yield note(host, "is not a public name: the site gets no certificate that is trusted")
        return
    if settings.traefik.acme.dns is not None:
        yield _at_home(context, host)
        return
    public = context.probes.public_address(settings.network.gateway)
    if public is not None and (public.is_private or public in SHARED):
        yield warning(
            f"the router's address {public}",
            "is not public: your provider, or another router, stands before it, and forwards "
            "nothing to you",
            "ask your provider for a public IPv4 address, or forward the ports in that router too",
        )
        return
    fix = f"let an A record of {host} point to " + (
        str(public) if public else "the public address that the router shows"
    )
    addresses = _addresses(context, host)
    if not addresses:
        yield warning(host, "has no address in the DNS: nobody will find the site", fix)
    elif settings.ingress_address in addresses:
        yield note(
            host,
            f"leads to the ingress address {settings.ingress_address} here; what it is outside of "
            "your network cannot be seen from within",
            fix,
        )
    elif all(address.is_private for address in addresses):
        text = f"leads to {_listed(addresses)} here, which nobody outside can reach"
        yield warning(host, text, fix)
    elif public is None:
        yield note(
            host,
            f"leads to {_listed(addresses)}; the router does not tell its public address",
            "compare it with the one that the router shows on its status page",
        )
    elif public in addresses:
        yield ok(host, f"leads to {public}, the router's public address")
    else:
        yield warning(
            host,
            f"leads to {_listed(addresses)}, and the router's public address is {public}",
            f"{fix}, unless a proxy stands between",
        )


def _addresses(context: Context, host: str) -> list[IPv4Address]:
    try:
        return context.probes.resolve(host)
    except OSError:
        return []


def _at_home(context: Context, host: str) -> Finding:
    """With DNS-01 nobody outside need find the site; here somebody should."""
    if addresses := _addresses(context, host):
        return ok(host, f"leads to {_listed(addresses)}; its certificate comes by the DNS")
    return warning(
        host,
        "has no address in the DNS: nobody will find the site",
        f"let a record of {host} point to {context.settings.ingress_address}, in the router's DNS "
        "if only your house shall find it",
    )


def _listed(addresses: list[IPv4Address]) -> str:
    return ", ".join(map(str, addresses))


def ports(context: Context) -> Iterator[Finding]:
    """What nobody can see from within is said, and how to try it."""
    settings = context.settings
    if settings.traefik.acme.dns is not None:
        yield note(
            "ports 80 and 443",
            "need not be open to the internet: certificates come by the DNS",
            f"forward them to {settings.ingress_address} only if strangers shall see the site",
        )
        return
    yield note(
        "ports 80 and 443",
        "cannot be tried from within your network: Let's Encrypt comes in by port 80",
        f"in the router, forward both to {settings.ingress_address}; once the castle is up, open "
        f"http://{settings.whoami.host} with a telephone that is not in the Wi-Fi",
    )


def dhcp(context: Context) -> Iterator[Finding]:
    """Only a person can compare with the router."""
    settings = context.settings
    ours = f"machines, VIP and pool ({settings.metallb.pool})"
    if settings.network.dhcp is None:
        yield note(
            "network.dhcp",
            f"is not set, so nothing compares it with {ours}",
            "write down the range that the router hands out",
        )
    else:
        yield note(
            "network.dhcp",
            f"{settings.network.dhcp} is what you wrote down; the router is not asked",
            "see that its DHCP page shows that range, and no more",
        )
