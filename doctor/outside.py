"""Checks of DNS, port forwarding and DHCP, which are only partly visible from this machine."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from settings.rules import not_public

CARRIER_GRADE_NAT = IPv4Network("100.64.0.0/10")
"""Addresses that an internet provider shares among its customers (RFC 6598)."""


def names(context: Context) -> Iterator[Finding]:
    """Check that the site's name resolves to the router's public address.

    With DNS-01 it may resolve to any address.
    """
    settings = context.settings
    host = settings.whoami.host
    if not_public(host):
        yield note(host, "is not a public name, so the site gets no trusted certificate")
        return
    if settings.traefik.acme.dns is not None:
        yield _check_dns_01(context, host)
        return
    public = context.probes.public_address(settings.network.gateway)
    if public is not None and (public.is_private or public in CARRIER_GRADE_NAT):
        yield warning(
            f"the router's address {public}",
            "is not public: your provider or another router has the public address, and forwards "
            "no ports to this router",
            "ask your provider for a public IPv4 address, or forward the ports in the other "
            "router too",
        )
        return
    fix = f"set an A record of {host} to " + (
        str(public) if public else "the public address on the router's status page"
    )
    addresses = _resolve(context, host)
    if not addresses:
        yield warning(host, "has no address in the DNS, so no browser can open the site", fix)
    elif settings.ingress_address in addresses:
        yield note(
            host,
            f"resolves to the ingress address {settings.ingress_address} on this machine; its "
            "address outside of your network cannot be checked from here",
            fix,
        )
    elif all(address.is_private for address in addresses):
        text = f"resolves to {_join(addresses)} on this machine, which the internet cannot reach"
        yield warning(host, text, fix)
    elif public is None:
        yield note(
            host,
            f"resolves to {_join(addresses)}; the router does not report its public address",
            f"compare {_join(addresses)} with the router's status page",
        )
    elif public in addresses:
        yield ok(host, f"resolves to {public}, the router's public address")
    else:
        yield warning(
            host,
            f"resolves to {_join(addresses)}, but the router's public address is {public}",
            f"{fix}, unless a proxy is in front of the router",
        )


def _resolve(context: Context, host: str) -> list[IPv4Address]:
    try:
        return context.probes.resolve(host)
    except OSError:
        return []


def _check_dns_01(context: Context, host: str) -> Finding:
    """With DNS-01 the name may have any address, because Let's Encrypt does not connect to it."""
    if addresses := _resolve(context, host):
        return ok(host, f"resolves to {_join(addresses)}; Let's Encrypt uses DNS-01")
    return warning(
        host,
        "has no address in the DNS, so no browser can open the site",
        f"set an A record of {host} to {context.settings.ingress_address}; if only your own "
        "network needs the site, set it in the router's DNS",
    )


def _join(addresses: list[IPv4Address]) -> str:
    return ", ".join(map(str, addresses))


def ports(context: Context) -> Iterator[Finding]:
    """Say how to test the forwarding of ports 80 and 443, which this machine cannot test."""
    settings = context.settings
    if settings.traefik.acme.dns is not None:
        yield note(
            "ports 80 and 443",
            "do not need to be open to the internet, because Let's Encrypt uses DNS-01",
            f"forward them to {settings.ingress_address} only if the site is to be public",
        )
        return
    yield note(
        "ports 80 and 443",
        "cannot be tested from within your network; Let's Encrypt connects to port 80",
        f"forward both ports to {settings.ingress_address} in the router; after `make up`, open "
        f"http://{settings.whoami.host} on a phone outside the Wi-Fi",
    )


def dhcp(context: Context) -> Iterator[Finding]:
    """Remind the user to compare ``network.dhcp`` with the router, which the doctor cannot read."""
    settings = context.settings
    if settings.network.dhcp is None:
        yield note(
            "network.dhcp",
            "is not set, so the DHCP range is not compared with the addresses of nodes, VIP and "
            f"pool ({settings.metallb.pool})",
            "set it to the router's DHCP range",
        )
    else:
        yield note(
            "network.dhcp",
            f"is {settings.network.dhcp} in the stack file; the doctor cannot read the router",
            "check that the router's DHCP page shows exactly this range",
        )
