"""Check of the DNS entries of the site's name: its IPv4 and IPv6 addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, IPv6Network
from typing import TypeVar

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from settings.rules import not_public

_NAT64 = IPv6Network("64:ff9b::/96")
"""A resolver of a network with NAT64 invents these addresses from the IPv4 addresses (RFC 6052)."""
Address = TypeVar("Address")


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
    addresses = _resolve(context.probes.resolve, host)
    ipv6_addresses = [it for it in _resolve(context.probes.resolve_ipv6, host) if _is_public(it)]
    names = ", ".join(map(str, addresses))
    if uses_dns_01:
        fix = f"{ingress}; if only your own network needs the site, set it in the router's DNS"
    else:
        fix = "the public address on the router's status page"
    fix = f"set an A record of {host} to {fix}"
    if ipv6_addresses and (not addresses or not uses_dns_01):
        yield _report_ipv6(host, ipv6_addresses, has_ipv4=bool(addresses), fix=fix)
        if not addresses:
            return
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


def _resolve(resolve: Callable[[str], list[Address]], host: str) -> list[Address]:
    try:
        return resolve(host)
    except OSError:
        return []


def _is_public(address: IPv6Address) -> bool:
    return address.is_global and address not in _NAT64


def _report_ipv6(host: str, found: list[IPv6Address], *, has_ipv4: bool, fix: str) -> Finding:
    """Report that a name has IPv6 addresses, although the ingress has only an IPv4 address."""
    names = ", ".join(map(str, found))
    if not has_ipv4:
        text = f"has only IPv6 addresses in the DNS ({names}), but the ingress has only IPv4"
        return warning(host, text, f"remove its AAAA records, and {fix}")
    return warning(
        host,
        f"also has IPv6 addresses in the DNS ({names}), which Let's Encrypt and browsers ask "
        "first; the ingress has only IPv4, so HTTP-01 fails if another server answers there",
        f"remove the AAAA records of {host}, unless a proxy at that address forwards port 80 to "
        "the router's IPv4 address",
    )
