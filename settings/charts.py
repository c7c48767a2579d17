"""Settings groups for the Helm releases, the demo site and the age key."""

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
    DeployKey,
    DnsProvider,
    Domain,
    Email,
    GitBranch,
    GitToken,
    GitUrl,
    Interval,
    OperatorVersion,
    Repository,
    RepositoryPath,
)
from settings.values import Address, Certificate, Credential, HostName, Range, Whole


class Chart(Group):
    """A Helm chart. Each chart has its own defaults."""

    chart_version: ChartVersion
    chart_repository: Repository


class Longhorn(Chart):
    """Longhorn: replicated volumes on the data disks of the nodes."""

    replicas: Annotated[Whole, Field(ge=1, le=20)] | None = None
    """Copies of each volume. Default: 2, or 1 if only one node has a data disk."""
    reclaim_policy: Literal["retain", "delete"] = "retain"
    """What happens to a volume if its PersistentVolumeClaim is deleted, by you or by Flux:
    ``retain`` keeps the volume until you delete it, ``delete`` deletes it at once. For new volumes
    only."""
    backup: VolumeBackup | None = None
    """Scheduled backups of all volumes to a target outside of the cluster. Default: no backups."""
    # renovate: datasource=helm depName=longhorn registryUrl=https://charts.longhorn.io
    chart_version: ChartVersion = "1.12.1"
    chart_repository: Repository = "https://charts.longhorn.io"


class MetalLB(Chart):
    """MetalLB: addresses for Services of type LoadBalancer."""

    pool: Range
    """Addresses for Services of type LoadBalancer, ``FIRST-LAST``, outside of the DHCP range."""
    # renovate: datasource=helm depName=metallb registryUrl=https://metallb.github.io/metallb
    chart_version: ChartVersion = "0.16.1"
    chart_repository: Repository = "https://metallb.github.io/metallb"


class DnsChallenge(Group):
    """The DNS-01 challenge: Let's Encrypt checks a DNS record and needs no open port.

    Needed for wildcards and for hosts that are not reachable from the internet.
    """

    provider: DnsProvider
    """DNS provider of the domain, by its code in Traefik's list (go-acme.github.io/lego/dns):
    ``cloudflare``."""
    credentials: Annotated[
        dict[str, Credential], BeforeValidator(lambda it: {} if it is None else it)
    ] = Field(default={})
    """Credentials at the DNS provider, by the environment variable names of that list. Set each
    with ``pulumi config set --secret --path``."""
    resolvers: tuple[Address, ...] = ()
    """DNS servers that Traefik asks for the challenge record. Default: those of the cluster. If
    your router answers for the domain, use public ones: ``[1.1.1.1, 9.9.9.9]``."""
    delay_s: Annotated[Whole, Field(ge=0, le=3600)] = 0
    """Seconds that Traefik waits before it checks the record. Increase it for a slow provider."""
    wildcards: tuple[Domain, ...] = ()
    """Domains that get one certificate for ``DOMAIN`` and ``*.DOMAIN``. Write them without
    ``*.``."""


class Acme(Group):
    """Certificates from Let's Encrypt."""

    email: Email
    """Contact e-mail address of the ACME account."""
    server: Literal["staging", "production"] = "staging"
    """Let's Encrypt's server. Use ``staging`` until certificates are issued, because ``production``
    has rate limits."""
    dns: DnsChallenge | None = None
    """DNS-01 challenge. Default: HTTP-01, which needs port 80."""
    backup: CertificateBackup = CertificateBackup()


class Traefik(Chart):
    """Traefik: the ingress of the cluster."""

    exposure: Literal["load-balancer", "host-network"] = "load-balancer"
    """``load-balancer``: a Service with an address of the MetalLB pool. ``host-network``: ports 80
    and 443 of the only control plane, at the VIP."""
    address: Address | None = None
    """Ingress address with ``load-balancer``. Default: the first address of the pool."""
    acme: Acme
    # renovate: datasource=helm depName=traefik registryUrl=https://traefik.github.io/charts
    chart_version: ChartVersion = "41.3.0"
    chart_repository: Repository = "https://traefik.github.io/charts"


class Whoami(Group):
    """The demo site."""

    host: HostName
    """Public host name of the demo site, whose DNS record points to the router."""


class Flux(Chart):
    """Flux: applies manifests from a Git repository. Without this group Flux is not installed."""

    url: GitUrl
    """URL of the Git repository with the manifests: ``ssh://`` or ``https://``."""
    branch: GitBranch = "main"
    """Branch that Flux applies."""
    path: RepositoryPath = "./"
    """Folder in the repository with the manifests."""
    interval: Interval = "1m"
    """How often Flux fetches the repository: a number with s, m or h."""
    deploy_key: DeployKey | None = None
    """Private SSH key without a passphrase, for ``ssh://``. Set it with ``pulumi config set
    --secret --path``."""
    known_hosts: StrictStr | None = None
    """Output of ``ssh-keyscan`` for the Git server, for ``ssh://``. Flux refuses every other host
    key."""
    username: StrictStr = "git"
    """User name for the token. GitHub and Gitea accept any."""
    token: GitToken | None = None
    """Access token or password, for ``https://``. Set it with ``pulumi config set --secret
    --path``. A public repository needs no token."""
    certificate: Certificate | None = None
    """Certificate (PEM) of the Git server or its CA, for ``https://``, if the CA is private."""
    # renovate: datasource=docker depName=ghcr.io/controlplaneio-fluxcd/charts/flux-operator
    chart_version: OperatorVersion = "0.49.0"
    chart_repository: Repository = "oci://ghcr.io/controlplaneio-fluxcd/charts"


class Sops(Group):
    """The age key of the stack."""

    age_key: AgeKey | None = None
    """Secret age key (``AGE-SECRET-KEY-1…``) that encrypts snapshots, certificate backups and Git
    secrets. ``make age-key`` creates it and stores it encrypted."""
