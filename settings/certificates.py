"""Rules for ACME certificates: credentials of the DNS provider, and backups."""

from __future__ import annotations

from collections.abc import Iterator

from settings.charts import DnsChallenge, Sops, Traefik
from settings.problems import Problem
from settings.values import VARIABLE

CREDENTIALS: dict[str, tuple[frozenset[str], ...]] = {
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
"""Credentials of common DNS providers; each set of variables is sufficient.

Source: the provider's page in the documentation of lego, Traefik's ACME client
(go-acme.github.io/lego/dns). For other providers the rule only checks that credentials are set.
"""
SET_COMMAND = "pulumi config set --secret --path traefik.acme.dns.credentials"


def certificate_backups_have_an_age_key(traefik: Traefik, sops: Sops) -> Iterator[Problem]:
    """A backup contains private keys, so the program stores it only encrypted."""
    if "backup" in traefik.acme.model_fields_set and sops.age_key is None:
        yield Problem(
            "sops.age_key",
            "missing",
            "traefik.acme.backup is set, and backups of certificates are encrypted with this key",
            "create the key with `make age-key`",
        )


def dns_provider_has_credentials(traefik: Traefik) -> Iterator[Problem]:
    """Traefik reports missing credentials only in its log, after it has started."""
    if traefik.acme.dns is None:
        return
    yield from _invalid_names(traefik.acme.dns)
    dns = traefik.acme.dns
    sufficient = CREDENTIALS.get(dns.provider, ())
    if any(names <= dns.credentials.keys() for names in sufficient):
        return
    if sufficient:
        alternatives = ", or ".join(" and ".join(sorted(names)) for names in sufficient)
        yield Problem(
            "traefik.acme.dns.credentials",
            ", ".join(sorted(dns.credentials)) or "missing",
            f"the DNS provider {dns.provider} needs {alternatives}",
            f"run `{SET_COMMAND}.{_next_missing(dns, sufficient)}`",
        )
    elif not dns.credentials:
        yield Problem(
            "traefik.acme.dns.credentials",
            "missing",
            f"the DNS provider {dns.provider} needs credentials",
            f"run `{SET_COMMAND}.NAME` for each NAME on the provider's page at "
            "go-acme.github.io/lego/dns",
        )


def _next_missing(dns: DnsChallenge, sufficient: tuple[frozenset[str], ...]) -> str:
    """A missing name of the set that lacks the fewest names."""
    missing = (sorted(names - dns.credentials.keys()) for names in sufficient)
    return str(min(missing, key=len)[0])


def _invalid_names(dns: DnsChallenge) -> Iterator[Problem]:
    for name in sorted(dns.credentials):
        path = f"traefik.acme.dns.credentials.{name}"
        if not VARIABLE.fullmatch(name):
            yield Problem(
                path,
                "(hidden)",
                "is not the name of an environment variable",
                "write the name in capitals, as on the provider's page at "
                "go-acme.github.io/lego/dns",
            )
        elif name.endswith("_FILE"):
            yield Problem(
                path,
                "(hidden)",
                "is the path of a file, which does not exist in Traefik's container",
                f"set {name.removesuffix('_FILE')} to the content of the file",
            )
