"""Rules on what runs in the castle: charts and certificates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from settings.charts import Flux, Longhorn, MetalLB, Traefik, Whoami
from settings.groups import Nodes
from settings.problems import Problem

NOT_PUBLIC = ("example", "test", "invalid", "localhost", "local", "internal", "lan", "home.arpa")
"""Top-level names that no public certificate authority signs (RFC 2606, 6761, 6762, 8375, 9476)."""


def acme_production_needs_a_public_host(traefik: Traefik, whoami: Whoami) -> Iterator[Problem]:
    """Let's Encrypt signs public names only; failed tries count against its rate limits."""
    wildcards = traefik.acme.dns.wildcards if traefik.acme.dns else ()
    wanted = [("whoami.host", whoami.host)]
    wanted += [("traefik.acme.dns.wildcards", domain) for domain in wildcards]
    for path, name in wanted:
        if traefik.acme.server == "production" and not_public(name):
            yield Problem(
                "traefik.acme.server",
                "production",
                f"{path} {name} is not a public name: Let's Encrypt will never sign it",
                "use a name of a domain that you own, or server: staging",
            )


def host_network_needs_one_control_plane(traefik: Traefik, nodes: Nodes) -> Iterator[Problem]:
    """The VIP floats between control planes, Traefik's pod does not follow it (facts/charts 2)."""
    if traefik.exposure == "host-network" and nodes.control_planes.count > 1:
        yield Problem(
            "traefik.exposure",
            "host-network",
            f"with {nodes.control_planes.count} control planes the VIP may stand on another one "
            "than Traefik: ports 80 and 443 would be dead",
            "use load-balancer, or one control plane",
        )


def chart_repositories(
    longhorn: Longhorn, metallb: MetalLB, traefik: Traefik, flux: Flux | None
) -> Iterator[Problem]:
    """A chart comes from an address, or from a folder where it is."""
    for group, name, chart in (
        ("longhorn", "longhorn", longhorn),
        ("metallb", "metallb", metallb),
        ("traefik", "traefik", traefik),
        ("flux", "flux-operator", flux),
    ):
        place = chart.chart_repository if chart else "https://none"
        if re.fullmatch(r"(https?|oci)://[^\s/]+\S*", place):
            continue
        if not (Path(place) / name / "Chart.yaml").is_file():
            yield Problem(
                f"{group}.chart_repository",
                place or '""',
                f"is neither an address nor a folder with {name}/Chart.yaml in it",
                "write https://..., oci://..., or the path of such a folder",
            )


def not_public(host: str) -> bool:
    """Whether a name can only be known at home: no certificate authority signs it."""
    names = (*NOT_PUBLIC, "example.com", "example.net", "example.org")
    return any(host == name or host.endswith(f".{name}") for name in names)
