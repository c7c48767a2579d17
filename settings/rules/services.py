"""Rules for Traefik, ACME certificates and chart repositories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from settings.charts import Flux, Longhorn, MetalLB, Traefik, Whoami
from settings.groups import Nodes
from settings.problems import Problem

NOT_PUBLIC = ("example", "test", "invalid", "localhost", "local", "internal", "lan", "home.arpa")
"""Domains for which no public CA issues certificates (RFC 2606, 6761, 6762, 8375, 9476)."""


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
