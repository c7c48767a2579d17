"""Flux, which deploys applications from a Git repository (the manifests repository).

Pulumi manages the Flux Operator, its FluxInstance, the Secrets, the GitRepository and the
Kustomization; the operator manages Flux's controllers; Flux manages the objects of the repository
(docs/gitops.md). Not included: image automation, notifications and the web page.

Why the operator and not another way of fluxcd.io/flux/installation: its image contains Flux's
manifests, so one pinned chart version pins Flux too. `flux bootstrap` is not a chart and writes
Flux's manifests into the repository; the chart of fluxcd-community is a "dev install".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from clients.kubernetes import flux_health
from components.shared.objects import (
    make_custom_object,
    make_namespace,
    make_release,
    make_secret,
)
from lifecycle.flux import (
    FluxReady,
    FluxReadyArgs,
    FluxSource,
    FluxUninstall,
    FluxUninstallArgs,
)
from settings.chart_source import ChartSource
from settings.models import Settings

NAMESPACE = "flux-system"
INSTANCE = "flux"
"""Name of the FluxInstance. The operator accepts no other name."""
SYNC = "flux-system"
"""Name of the GitRepository and the Kustomization, as the `flux` CLI and its documentation use."""
GIT_SECRET = "castle-git"
AGE_SECRET = "sops-age"


@dataclass(frozen=True, kw_only=True)
class FluxArgs:
    """Arguments of ``Flux``."""

    chart: ChartSource
    """Helm chart of the Flux Operator."""
    url: str
    """URL of the manifests repository."""
    branch: str
    """Branch that Flux applies."""
    path: str
    """Folder in the repository that Flux applies."""
    interval: str
    """Time between two reads of the repository, as a Go duration (``5m``)."""
    credentials: dict[str, str]
    """Data of the Secret with which Flux reads the repository; empty for a public repository."""
    age_key: str | None
    """Secret age key that decrypts the repository's Secrets; ``None`` if the stack has none."""
    reclaim_policy: str
    """What Longhorn does with the data of a deleted claim: ``retain`` or ``delete``."""
    kubeconfig: pulumi.Input[str]
    """Kubeconfig for reading Flux's health and for uninstalling Flux."""
    after: Sequence[pulumi.Resource]
    """Resources that must exist before Flux applies manifests: storage, load balancer, ingress."""
    read_health: Callable[[str], dict[str, str]]
    """Reads the health of Flux with a kubeconfig."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        kubeconfig: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        read_health: Callable[[str], dict[str, str]] = flux_health.look,
    ) -> FluxArgs:
        """Create the arguments from the settings, which must have the group ``flux``."""
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
    """The Flux Operator, Flux, and the one repository that it applies."""

    health: pulumi.Output[dict[str, str]]
    """Current health by part: ``controllers``, ``source`` (repository), ``applied`` (manifests)."""

    def __init__(
        self, name: str, args: FluxArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Flux", name, None, opts)
        namespace = make_namespace(self, f"{name}-namespace", NAMESPACE, "restricted")
        release = make_release(self, f"{name}-release", NAMESPACE, args.chart, VALUES, [namespace])
        instance = make_custom_object(
            self,
            f"{name}-instance",
            NAMESPACE,
            INSTANCE,
            "fluxcd.controlplane.io/v1/FluxInstance",
            instance_spec(),
            [release],
        )
        uninstall = FluxUninstall(
            f"{name}-uninstall",
            FluxUninstallArgs(kubeconfig=args.kubeconfig, namespace=NAMESPACE),
            pulumi.ResourceOptions(parent=self, depends_on=[instance]),
        )
        # Flux installs the custom resource definitions of the objects below.
        ready = FluxReady(
            f"{name}-ready",
            FluxReadyArgs(
                part="controllers", wanted="Flux is not ready", kubeconfig=args.kubeconfig
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[instance, uninstall]),
        )
        secrets = {GIT_SECRET: args.credentials}
        if args.age_key is not None:
            secrets[AGE_SECRET] = {"castle.agekey": args.age_key}
        keys = [
            make_secret(self, f"{name}-{secret}", NAMESPACE, secret, data, [namespace])
            for secret, data in secrets.items()
            if data
        ]
        source = make_custom_object(
            self,
            f"{name}-source",
            NAMESPACE,
            SYNC,
            "source.toolkit.fluxcd.io/v1/GitRepository",
            source_spec(args),
            [ready, *keys],
            deleted_with=uninstall,
        )
        # `up` fails if Flux cannot read the repository, so a wrong URL or key is noticed at once.
        fetched = FluxReady(
            f"{name}-source-ready",
            FluxReadyArgs(
                part="source",
                wanted=f"Flux cannot read branch {args.branch} of {args.url}",
                kubeconfig=args.kubeconfig,
                source=FluxSource(
                    url=args.url,
                    branch=args.branch,
                    path=args.path,
                    reclaim_policy=args.reclaim_policy,
                ),
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[source]),
        )
        # `up` does not wait until the manifests are applied: an error in the repository must not
        # block changes of the infrastructure.
        applied = make_custom_object(
            self,
            f"{name}-kustomization",
            NAMESPACE,
            SYNC,
            "kustomize.toolkit.fluxcd.io/v1/Kustomization",
            kustomization_spec(args),
            [fetched, *args.after],
            deleted_with=uninstall,
        )
        self.health = pulumi.Output.unsecret(
            pulumi.Output.all(args.kubeconfig, applied.id).apply(lambda it: args.read_health(it[0]))
        )
        self.register_outputs({"health": self.health})


VALUES: dict[str, Any] = {"web": {"enabled": False}}
"""Values of the operator's chart. The web page is off, because the `flux` CLI shows the same."""


def instance_spec() -> dict[str, Any]:
    """Return the spec of the FluxInstance.

    Without ``artifact`` the operator installs the newest Flux in its own image, so only the chart
    version must be pinned (fluxoperator.dev, FluxInstance, distribution artifact).
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
    """Return the spec of the GitRepository."""
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
    """Return the spec of the Kustomization."""
    spec: dict[str, Any] = {
        "sourceRef": {"kind": "GitRepository", "name": SYNC},
        "path": args.path,
        "interval": "10m",
        "retryInterval": "1m",
        "timeout": "5m",
        # Flux deletes an object from the cluster if it is deleted from the repository ...
        "prune": True,
        # ... but not if only this Kustomization is deleted. The default deletes all objects then.
        "deletionPolicy": "Orphan",
    }
    if args.age_key is not None:
        spec["decryption"] = {"provider": "sops", "secretRef": {"name": AGE_SECRET}}
    return spec
