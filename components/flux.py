"""Flux: what runs on the castle comes from a git repository, the manifests' repository.

Installed by the Flux Operator, and its chart. Flux's own installation page offers `flux bootstrap`
(which writes Flux into the repository, so that Flux would own itself, and which is no chart), the
Flux Operator, and the chart of fluxcd-community as a "dev install", "on a best effort basis with
no guarantees around release cadence" (fluxcd.io/flux/installation). The operator is written by
Flux's maintainers, migrates its objects between versions, and brings the manifests of Flux along in
its image: one pinned chart is one version of Flux, and nothing is fetched beside.

The line between the two repositories: Pulumi owns the namespace, the operator, its FluxInstance,
the secrets, the GitRepository and the Kustomization. The operator owns Flux's controllers. Flux
owns what the manifests' repository holds, and nothing that this program makes (docs/gitops.md).

Leaves out Flux's image automation, its web page and notifications to anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from clients.kubernetes import flux_health
from components.shared.namespace import make_namespace
from components.shared.secret import make_secret
from lifecycle.flux_ready import FluxReady, FluxSource
from lifecycle.flux_uninstall import FluxUninstall
from settings.chart_source import ChartSource
from settings.models import Settings

NAMESPACE = "flux-system"
INSTANCE = "flux"
"""The one name that the operator accepts."""
SYNC = "flux-system"
"""Name of the GitRepository and the Kustomization: what `flux` and its documentation call them."""
GIT_SECRET = "castle-git"
AGE_SECRET = "sops-age"


@dataclass(frozen=True, kw_only=True)
class FluxArgs:
    """Which repository to follow, and how."""

    chart: ChartSource
    """The chart of the Flux Operator."""
    url: str
    """Address of the manifests' repository."""
    branch: str
    """Branch that is followed."""
    path: str
    """Folder in the repository."""
    interval: str
    """How often the repository is looked at."""
    credentials: dict[str, str]
    """What opens the repository, as Flux reads it from a secret; empty for a public one."""
    age_key: str | None
    """Secret key of age; none where nothing is encrypted."""
    reclaim_policy: str
    """What happens to the data of new claims that Flux deletes later: ``retain`` or ``delete``."""
    kubeconfig: pulumi.Input[str]
    """How the cluster is reached when Flux is looked at, and when it is removed."""
    after: Sequence[pulumi.Resource]
    """What the manifests may use, and must find: storage, addresses, the way in."""
    read_health: Callable[[str], dict[str, str]]
    """Asks Flux how it is, for a kubeconfig."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        kubeconfig: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        read_health: Callable[[str], dict[str, str]] = flux_health.look,
    ) -> FluxArgs:
        """The Flux that a stack asks for; there must be a group ``flux``."""
        flux, age_key = settings.flux, settings.sops.age_key
        assert flux is not None
        credentials: dict[str, str] = {}
        if flux.deploy_key is not None:
            credentials = {
                "identity": flux.deploy_key.get_secret_value(),
                "known_hosts": str(flux.known_hosts),
            }
        elif flux.token is not None:
            credentials = {"username": flux.username, "password": flux.token.get_secret_value()}
        if flux.certificate is not None:
            credentials["ca.crt"] = flux.certificate
        return cls(
            chart=ChartSource.of("flux-operator", flux),
            url=flux.url,
            branch=flux.branch,
            path=flux.path,
            interval=flux.interval,
            credentials=credentials,
            age_key=age_key.get_secret_value() if age_key else None,
            reclaim_policy=settings.longhorn.reclaim_policy,
            kubeconfig=kubeconfig,
            after=after,
            read_health=read_health,
        )


class Flux(pulumi.ComponentResource):
    """Flux, and one repository that it follows."""

    health: pulumi.Output[dict[str, str]]
    """What Flux says of its controllers, the repository and what was applied, at this moment."""

    def __init__(
        self, name: str, args: FluxArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Flux", name, None, opts)
        namespace = make_namespace(self, f"{name}-namespace", NAMESPACE, "restricted")
        release = kubernetes.helm.v3.Release(
            f"{name}-release",
            name="flux-operator",
            namespace=NAMESPACE,
            **args.chart.release_args(),
            values=VALUES,
            timeout=600,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[namespace],
                custom_timeouts=pulumi.CustomTimeouts(create="10m", update="10m", delete="10m"),
            ),
        )
        instance = self._object(
            f"{name}-instance",
            "fluxcd.controlplane.io/v1",
            "FluxInstance",
            INSTANCE,
            instance_spec(),
            pulumi.ResourceOptions(depends_on=[release]),
        )
        uninstall = FluxUninstall(
            f"{name}-uninstall",
            kubeconfig=args.kubeconfig,
            namespace=NAMESPACE,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[instance]),
        )
        # The kinds below are there once Flux is.
        ready = self._ready(
            f"{name}-ready", "controllers", "Flux is not ready", args, [instance, uninstall]
        )
        keys = self._secrets(name, args, namespace)
        source = self._object(
            f"{name}-source",
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            SYNC,
            source_spec(args),
            pulumi.ResourceOptions(depends_on=[ready, *keys], deleted_with=uninstall),
        )
        # An address or a key that is wrong is told by `up`, not found weeks later.
        fetched = self._ready(
            f"{name}-source-ready",
            "source",
            f"Flux cannot read branch {args.branch} of {args.url}",
            args,
            [source],
            FluxSource(
                url=args.url,
                branch=args.branch,
                path=args.path,
                reclaim_policy=args.reclaim_policy,
            ),
        )
        # Never a wait for this one: what is in that repository cannot hold up the infrastructure.
        applied = self._object(
            f"{name}-kustomization",
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            SYNC,
            kustomization_spec(args),
            pulumi.ResourceOptions(depends_on=[fetched, *args.after], deleted_with=uninstall),
        )
        self.health = pulumi.Output.unsecret(
            pulumi.Output.all(args.kubeconfig, applied.id).apply(lambda it: args.read_health(it[0]))
        )
        self.register_outputs({"health": self.health})

    def _secrets(
        self, name: str, args: FluxArgs, namespace: pulumi.Resource
    ) -> list[kubernetes.core.v1.Secret]:
        """The secrets that are there to be had."""
        wanted = {GIT_SECRET: args.credentials}
        if args.age_key is not None:
            wanted[AGE_SECRET] = {"castle.agekey": args.age_key}
        return [
            make_secret(
                self,
                f"{name}-{secret}",
                secret,
                NAMESPACE,
                data,
                pulumi.ResourceOptions(depends_on=[namespace]),
            )
            for secret, data in wanted.items()
            if data
        ]

    def _object(
        self,
        name: str,
        api_version: str,
        kind: str,
        object_name: str,
        spec: dict[str, Any],
        opts: pulumi.ResourceOptions,
    ) -> kubernetes.apiextensions.CustomResource:
        limits = pulumi.CustomTimeouts(create="5m", update="5m", delete="5m")
        own = pulumi.ResourceOptions(parent=self, custom_timeouts=limits)
        return kubernetes.apiextensions.CustomResource(
            name,
            api_version=api_version,
            kind=kind,
            metadata={"name": object_name, "namespace": NAMESPACE},
            spec=spec,
            opts=pulumi.ResourceOptions.merge(opts, own),
        )

    def _ready(
        self,
        name: str,
        part: str,
        wanted: str,
        args: FluxArgs,
        after: Sequence[pulumi.Resource],
        source: FluxSource | None = None,
    ) -> FluxReady:
        return FluxReady(
            name,
            part=part,
            wanted=wanted,
            kubeconfig=args.kubeconfig,
            source=source,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )


VALUES: dict[str, Any] = {"web": {"enabled": False}}
"""Values of the operator's chart. Its status page has no door of its own: `flux` shows the same."""


def instance_spec() -> dict[str, Any]:
    """What the operator installs.

    No ``artifact``: then it is the newest Flux in the operator's own image, so that the chart's
    version is the only one to pin (fluxoperator.dev, FluxInstance, distribution artifact).
    """
    return {
        "distribution": {"version": "2.x", "registry": "ghcr.io/fluxcd"},
        "components": [
            "source-controller",
            "kustomize-controller",
            "helm-controller",
            "notification-controller",
        ],
        "cluster": {"type": "kubernetes", "domain": "cluster.local", "networkPolicy": True},
    }


def source_spec(args: FluxArgs) -> dict[str, Any]:
    """Where the manifests come from."""
    spec: dict[str, Any] = {
        "url": args.url,
        "ref": {"branch": args.branch},
        "interval": args.interval,
        "timeout": "60s",
    }
    if args.credentials:
        spec["secretRef"] = {"name": GIT_SECRET}
    return spec


def kustomization_spec(args: FluxArgs) -> dict[str, Any]:
    """What is done with them."""
    spec: dict[str, Any] = {
        "sourceRef": {"kind": "GitRepository", "name": SYNC},
        "path": args.path,
        "interval": "10m",
        "retryInterval": "1m",
        "timeout": "5m",
        # What goes from the repository goes from the cluster ...
        "prune": True,
        # ... but not because this object goes: by default it takes all of it along.
        "deletionPolicy": "Orphan",
    }
    if args.age_key is not None:
        spec["decryption"] = {"provider": "sops", "secretRef": {"name": AGE_SECRET}}
    return spec
