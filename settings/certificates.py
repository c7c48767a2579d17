"""Rules of the certificates: how they are asked for, and what it takes to keep them."""

from __future__ import annotations

from collections.abc import Iterator

from settings.charts import DnsChallenge, Sops, Traefik
from settings.problems import Problem
from settings.values import VARIABLE

NEEDS: dict[str, tuple[frozenset[str], ...]] = {
    "cloudflare": (
        frozenset({"CF_DNS_API_TOKEN"}),
        frozenset({"CLOUDFLARE_DNS_API_TOKEN"}),
        frozenset({"CF_API_EMAIL", "CF_API_KEY"}),
        frozenset({"CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY"}),
    ),
    "desec": (frozenset({"DESEC_TOKEN"}),),
    "digitalocean": (frozenset({"DO_AUTH_TOKEN"}),),
    "duckdns": (frozenset({"DUCKDNS_TOKEN"}),),
    "ionos": (frozenset({"IONOS_API_KEY"}),),
    "inwx": (frozenset({"INWX_USERNAME", "INWX_PASSWORD"}),),
    "porkbun": (frozenset({"PORKBUN_API_KEY", "PORKBUN_SECRET_API_KEY"}),),
}
"""What some providers sign in with, one of these; of all others only Traefik knows. Source: the
providers' pages of lego, which Traefik uses (go-acme.github.io/lego/dns)."""
SET = "pulumi config set --secret --path traefik.acme.dns.credentials"


def what_is_kept_is_encrypted(traefik: Traefik, sops: Sops) -> Iterator[Problem]:
    """Keys of an ACME account and of certificates lie nowhere in the open."""
    if "backup" in traefik.acme.model_fields_set and sops.age_key is None:
        yield Problem(
            "sops.age_key",
            "missing",
            "traefik.acme.backup keeps certificates only encrypted, for this key",
            "make it with `make age-key`",
        )


def the_dns_provider_lets_traefik_in(traefik: Traefik) -> Iterator[Problem]:
    """Traefik says only in its log, once it runs, that it cannot sign in."""
    if traefik.acme.dns is None:
        return
    yield from _names(traefik.acme.dns)
    dns = traefik.acme.dns
    wanted = NEEDS.get(dns.provider, ())
    if any(one <= dns.credentials.keys() for one in wanted):
        return
    if wanted:
        names = ", or ".join(" and ".join(sorted(one)) for one in wanted)
        yield Problem(
            "traefik.acme.dns.credentials",
            ", ".join(sorted(dns.credentials)) or "missing",
            f"{dns.provider} is signed in to with {names}",
            f"`{SET}.{_next(dns, wanted)}`",
        )
    elif not dns.credentials:
        yield Problem(
            "traefik.acme.dns.credentials",
            "missing",
            f"without them {dns.provider} lets nobody change the domain",
            f"`{SET}.NAME`, with each name from its page at go-acme.github.io/lego/dns",
        )


def _next(dns: DnsChallenge, wanted: tuple[frozenset[str], ...]) -> str:
    """The name that is missing where the least are."""
    missing = (sorted(one - dns.credentials.keys()) for one in wanted)
    return str(min(missing, key=len)[0])


def _names(dns: DnsChallenge) -> Iterator[Problem]:
    for name in sorted(dns.credentials):
        path = f"traefik.acme.dns.credentials.{name}"
        if not VARIABLE.fullmatch(name):
            yield Problem(
                path,
                "(hidden)",
                "is not the name of an environment variable",
                "write it in capitals, as its provider's page has it",
            )
        elif name.endswith("_FILE"):
            yield Problem(
                path,
                "(hidden)",
                "is the path of a file, which Traefik has not",
                f"put what is in the file into {name.removesuffix('_FILE')}",
            )
