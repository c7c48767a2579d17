"""The settings of what is installed by a chart, and of what goes with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    StrictStr,
)

from settings.backups import CertificateBackup, VolumeBackup
from settings.base import Group
from settings.chart_values import (
    AgeKey,
    ChartVersion,
    Credential,
    DeployKey,
    DnsProvider,
    Domain,
    Email,
    GitBranch,
    GitToken,
    GitUrl,
    Interval,
    RepositoryPath,
)
from settings.values import Address, Certificate, HostName, Range, Whole


class Chart(Group):
    """A Helm chart; the defaults are the versions that the castle's values are written for."""

    chart_version: ChartVersion
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr
    """Address of the chart repository, or a local folder that holds the chart."""


class Longhorn(Chart):
    """Storage on the data disks."""

    replicas: Annotated[Whole, Field(ge=1, le=20)] | None = None
    """Copies of each volume; by default 2, or 1 if only one node has a data disk."""
    reclaim_policy: Literal["retain", "delete"] = "retain"
    """What happens to the data of a claim that is deleted, by hand or by Flux: ``retain`` keeps the
    volume until somebody deletes it, ``delete`` deletes it at once. New volumes only."""
    backup: VolumeBackup | None = None
    """Regular backups to outside of the castle; none by default."""
    # renovate: datasource=helm depName=longhorn registryUrl=https://charts.longhorn.io
    chart_version: ChartVersion = "1.12.1"
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr = "https://charts.longhorn.io"
    """Address of the chart repository, or a local folder that holds the chart."""


class MetalLB(Chart):
    """Addresses for Services of type LoadBalancer."""

    pool: Range
    """The addresses that MetalLB hands out; outside the router's DHCP range."""
    # renovate: datasource=helm depName=metallb registryUrl=https://metallb.github.io/metallb
    chart_version: ChartVersion = "0.16.1"
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr = "https://metallb.github.io/metallb"
    """Address of the chart repository, or a local folder that holds the chart."""


class DnsChallenge(Group):
    """Certificates by DNS-01: Let's Encrypt looks into the DNS, and needs no open port.

    For hosts that nobody reaches from outside, and for wildcards.
    """

    provider: DnsProvider
    """Who answers for the domain, by its code in Traefik's list of providers: ``cloudflare``."""
    credentials: Annotated[
        dict[str, Credential], BeforeValidator(lambda it: {} if it is None else it)
    ] = Field(default={})
    """What Traefik signs in with there, by the environment variables that its list names; each
    only by ``pulumi config set --secret --path``."""
    resolvers: tuple[Address, ...] = ()
    """DNS servers that are asked whether the record is there; those of the castle by default. Where
    the router itself answers for the domain, name public ones: ``[1.1.1.1, 9.9.9.9]``."""
    delay_s: Annotated[Whole, Field(ge=0, le=3600)] = 0
    """Seconds before they are asked, for a provider who is slow."""
    wildcards: tuple[Domain, ...] = ()
    """Domains that get one certificate for themselves and every name right below them."""


class Acme(Group):
    """Certificates from Let's Encrypt."""

    email: Email
    """Contact of the ACME account."""
    server: Literal["staging", "production"] = "staging"
    """``staging`` until all works: production has rate limits."""
    dns: DnsChallenge | None = None
    """DNS-01 in place of HTTP-01, which asks over port 80."""
    backup: CertificateBackup = CertificateBackup()


class Traefik(Chart):
    """The way in."""

    exposure: Literal["load-balancer", "host-network"] = "load-balancer"
    """A Service at an address of the MetalLB pool, or ports 80/443 of the control plane (VIP)."""
    address: Address | None = None
    """Ingress address with ``load-balancer``; the first of the pool by default."""
    acme: Acme
    # renovate: datasource=helm depName=traefik registryUrl=https://traefik.github.io/charts
    chart_version: ChartVersion = "41.3.0"
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr = "https://traefik.github.io/charts"
    """Address of the chart repository, or a local folder that holds the chart."""


class Whoami(Group):
    """The demo site."""

    host: HostName
    """Public name of the site; its DNS record points to the router."""


class Flux(Chart):
    """GitOps: what runs on the castle comes from a git repository; none without this group."""

    url: GitUrl
    """Address of the manifests' repository: ``ssh://`` or ``https://``."""
    branch: GitBranch = "main"
    """Branch that is followed."""
    path: RepositoryPath = "./"
    """Folder in the repository whose manifests are applied."""
    interval: Interval = "1m"
    """How often the repository is looked at: a number with s, m or h."""
    deploy_key: DeployKey | None = None
    """Private SSH key, for ``ssh://``; only by ``pulumi config set --secret``."""
    known_hosts: StrictStr | None = None
    """What ``ssh-keyscan`` says of the git server, for ``ssh://``: Flux trusts no other host."""
    username: StrictStr = "git"
    """User name that goes with the token; GitHub and Gitea take any."""
    token: GitToken | None = None
    """Access token or password, for ``https://``; only by ``pulumi config set --secret``. None
    for a public repository."""
    certificate: Certificate | None = None
    """Certificate (PEM) of the authority that the git server's own is signed by, or itself, where
    it is none that everybody trusts; for ``https://``."""
    # renovate: datasource=docker depName=ghcr.io/controlplaneio-fluxcd/charts/flux-operator
    chart_version: ChartVersion = "0.49.0"
    """Version of the Flux Operator's chart, and with it of Flux: the operator brings it along."""
    chart_repository: StrictStr = "oci://ghcr.io/controlplaneio-fluxcd/charts"
    """Address of the chart repository, or a local folder that holds the chart."""


class Sops(Group):
    """Secrets that lie encrypted in a repository."""

    age_key: AgeKey | None = None
    """Secret key of age, which Flux decrypts with; ``make age-key`` makes it. Only by
    ``pulumi config set --secret``."""
