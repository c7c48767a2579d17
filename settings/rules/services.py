"""Rules for Traefik, certificates, chart repositories, backups and Flux's Git repository."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from pydantic import SecretStr

from settings.backups import S3, bucket_of, server_of
from settings.charts import DnsChallenge, Flux, Longhorn, MetalLB, Sops, Traefik, Whoami
from settings.groups import Cluster, Nodes
from settings.node import Node
from settings.problems import Problem
from settings.values import VARIABLE

SET_COMMAND = "pulumi config set --secret --path"
_CREDENTIALS = "traefik.acme.dns.credentials"
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
NOT_PUBLIC = ("example", "test", "invalid", "localhost", "local", "internal", "lan", "home.arpa")
"""Domains for which no public CA issues certificates (RFC 2606, 6761, 6762, 8375, 9476)."""

_WITHOUT_EFFECT = {
    "ssh": {"token": "", "certificate": ": flux.known_hosts identifies the server"},
    "https": {"deploy_key": "", "known_hosts": ""},
}
"""By scheme of ``flux.url``: settings of ``flux`` without effect, and the reason."""


def acme_production_needs_a_public_host(traefik: Traefik, whoami: Whoami) -> Iterator[Problem]:
    """Let's Encrypt issues certificates for public names only, and limits failed attempts."""
    wildcards = traefik.acme.dns.wildcards if traefik.acme.dns else ()
    wanted = [("whoami.host", whoami.host)]
    wanted += [("traefik.acme.dns.wildcards", domain) for domain in wildcards]
    for path, name in wanted:
        if traefik.acme.server == "production" and not_public(name):
            yield Problem(
                "traefik.acme.server",
                "production",
                f"{path} {name} is not a public name: Let's Encrypt issues no certificate for it",
                "use a name in a domain that you own, or set traefik.acme.server: staging",
            )


def host_network_needs_one_control_plane(traefik: Traefik, nodes: Nodes) -> Iterator[Problem]:
    """The VIP moves between control planes, but Traefik's pod does not move with it."""
    if traefik.exposure == "host-network" and nodes.control_planes.count > 1:
        yield Problem(
            "traefik.exposure",
            "host-network",
            f"with {nodes.control_planes.count} control planes the VIP may be on another control "
            "plane than Traefik, and ports 80 and 443 would not answer",
            "set traefik.exposure: load-balancer, or use one control plane",
        )


def chart_repositories(
    longhorn: Longhorn, metallb: MetalLB, traefik: Traefik, flux: Flux | None
) -> Iterator[Problem]:
    """A chart repository is a URL or a local folder that contains the chart."""
    for group, name, chart in (
        ("longhorn", "longhorn", longhorn),
        ("metallb", "metallb", metallb),
        ("traefik", "traefik", traefik),
        ("flux", "flux-operator", flux),
    ):
        if chart is None:
            continue
        repository = chart.chart_repository
        if re.fullmatch(r"(https?|oci)://[^\s/]+\S*", repository):
            continue
        if not (Path(repository) / name / "Chart.yaml").is_file():
            yield Problem(
                f"{group}.chart_repository",
                repository or '""',
                f"is neither a URL nor a local folder that contains {name}/Chart.yaml",
                "write https://..., oci://..., or the path of such a folder",
            )


def not_public(host: str) -> bool:
    """Whether no public CA issues a certificate for this host name."""
    names = (*NOT_PUBLIC, "example.com", "example.net", "example.org")
    return any(host == name or host.endswith(f".{name}") for name in names)


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
            f"run `{SET_COMMAND} {_CREDENTIALS}.{_next_missing(dns, sufficient)}`",
        )
    elif not dns.credentials:
        yield Problem(
            "traefik.acme.dns.credentials",
            "missing",
            f"the DNS provider {dns.provider} needs credentials",
            f"run `{SET_COMMAND} {_CREDENTIALS}.NAME` for each NAME on the provider's page at "
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


def backup_servers_outside_the_cluster(
    longhorn: Longhorn,
    s3: S3 | None,
    cluster: Cluster,
    machines: Sequence[Node],
    metallb: MetalLB,
) -> Iterator[Problem]:
    """A backup on a node of the cluster is deleted with the cluster."""
    owners = {node.address: node.short_name for node in machines}
    owners[cluster.vip] = "the VIP"
    for path, value, server in _servers(longhorn, s3):
        try:
            address = IPv4Address(server)
        except ValueError:
            continue  # a host name: rules do not query the DNS
        owner = owners.get(address) or ("MetalLB's pool" if address in metallb.pool else None)
        if owner:
            yield Problem(
                path,
                value,
                f"is an address of this cluster ({owner}): backups would be lost with the cluster",
                "use a server outside of the cluster",
            )


def _servers(longhorn: Longhorn, s3: S3 | None) -> Iterator[tuple[str, str, str]]:
    """Path, value and server of each setting that names a backup server."""
    if longhorn.backup and bucket_of(longhorn.backup.target) is None:
        target = longhorn.backup.target
        yield "longhorn.backup.target", target, server_of(target)
    if s3:
        yield "s3.endpoint", s3.endpoint, str(urllib.parse.urlsplit(s3.endpoint).hostname)


def buckets_have_credentials(
    longhorn: Longhorn, traefik: Traefik, s3: S3 | None
) -> Iterator[Problem]:
    """A target that is a bucket needs the group ``s3``."""
    targets = {"traefik.acme.backup.target": traefik.acme.backup.target}
    if longhorn.backup:
        targets["longhorn.backup.target"] = longhorn.backup.target
    for path, target in targets.items():
        if s3 is None and bucket_of(target):
            yield Problem(
                path,
                target,
                "is a bucket, and needs the group s3 (endpoint and credentials), which is missing",
                "write s3.endpoint and s3.access_key, then run `pulumi config set --secret --path "
                "ephemeral-castle:s3.secret_key`",
            )


def snapshot_can_be_decrypted(cluster: Cluster, sops: Sops) -> Iterator[Problem]:
    """A snapshot is encrypted with the age key of its stack."""
    if cluster.restore_from is not None and sops.age_key is None:
        yield Problem(
            "sops.age_key",
            "missing",
            f"cluster.restore_from {cluster.restore_from} is encrypted with an age key",
            "set the age key of the stack that wrote the snapshot: "
            "`pulumi config set --secret --path ephemeral-castle:sops.age_key`",
        )


def credentials_fit_url(flux: Flux | None) -> Iterator[Problem]:
    """``ssh://`` needs a deploy key and known hosts; ``https://`` takes a token or nothing."""
    if flux is None:
        return
    scheme = urllib.parse.urlsplit(flux.url).scheme
    if scheme == "ssh" and flux.deploy_key is None:
        yield Problem(
            "flux.deploy_key",
            "missing",
            f"{flux.url} needs a private SSH key",
            f"run `{SET_COMMAND} flux.deploy_key < deploy_key`, and add the public key to the "
            "Git server",
        )
    if scheme == "ssh" and flux.known_hosts is None:
        yield Problem(
            "flux.known_hosts",
            "missing",
            "over SSH, Flux connects only to a server with a known host key",
            f"write the output of `ssh-keyscan {_keyscan_arguments(flux.url)}`, after you have "
            "compared it with the host keys that the Git server publishes",
        )
    other = "https" if scheme == "ssh" else "ssh"
    for name, reason in _WITHOUT_EFFECT[scheme].items():
        value = getattr(flux, name)
        if value is not None:
            yield Problem(
                f"flux.{name}",
                "(hidden)" if isinstance(value, SecretStr) else "set",
                f"has no effect with an {scheme}:// URL{reason}",
                f"remove it, or write flux.url with {other}://",
            )


def git_host_is_known(flux: Flux | None) -> Iterator[Problem]:
    """``known_hosts`` has an entry for the server of ``flux.url`` (format: sshd(8),
    SSH_KNOWN_HOSTS FILE FORMAT)."""
    if flux is None or flux.known_hosts is None or not flux.url.startswith("ssh://"):
        return
    url = urllib.parse.urlsplit(flux.url)
    wanted = str(url.hostname) if url.port in (None, 22) else f"[{url.hostname}]:{url.port}"
    for line in flux.known_hosts.splitlines():
        names, *key = line.split()[:3] or [""]
        # A hashed host name cannot be compared, so it counts as the right one.
        if len(key) == 2 and (names.startswith("|1|") or wanted in names.lower().split(",")):
            return
    yield Problem(
        "flux.known_hosts",
        "set",
        f"has no line for {wanted}, the server of flux.url",
        f"write the output of `ssh-keyscan {_keyscan_arguments(flux.url)}`",
    )


def _keyscan_arguments(address: str) -> str:
    """The arguments of ``ssh-keyscan`` for the server of a URL."""
    url = urllib.parse.urlsplit(address)
    return f"-p {url.port} {url.hostname}" if url.port else str(url.hostname)
