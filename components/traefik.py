"""Traefik: the way in, with Let's Encrypt certificates that outlive it.

Two exposures. ``load-balancer``: a Service at a fixed address of MetalLB's pool. ``host-network``:
ports 80 and 443 of the control plane, reached by the VIP. The certificates lie on a volume of our
own beside the release, so that going from one to the other, or a new release, keeps them.

Leaves out several replicas: the ACME account belongs to one Traefik at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from components import control_plane
from components.chart import ChartSource
from components.namespace import make_namespace
from settings import Settings

NAMESPACE = "traefik"
VOLUME = "traefik-certificates"
RESOLVER = "letsencrypt"
CA_SERVERS = {
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "production": "https://acme-v02.api.letsencrypt.org/directory",
}
"""Let's Encrypt's directories (letsencrypt.org/docs/staging-environment)."""
STORAGE = {"staging": "/data/acme-staging.json", "production": "/data/acme.json"}
"""A file for each. In one file Traefik would go on with staging's certificates after the change to
production: it makes a new account, but keeps what it has (traefik pkg/provider/acme, Init). And
going back and forth asks production for nothing again."""
USER = 65532
"""The user that Traefik runs as in the pod network."""
# renovate: datasource=docker depName=busybox
INIT_IMAGE = "busybox:1.37.0"


@dataclass(frozen=True, kw_only=True)
class TraefikArgs:
    """How to let the world in."""

    chart: ChartSource
    """The Helm chart."""
    exposure: Literal["load-balancer", "host-network"]
    """Behind MetalLB, or on the control plane's own ports."""
    address: IPv4Address
    """Ingress address: of MetalLB's pool, or the VIP."""
    storage_class: str
    """Storage class of the certificates' volume."""
    after: Sequence[pulumi.Resource]
    """What must be there before anything of Traefik: its storage class and its address pool."""
    acme_email: str
    """Contact of the ACME account."""
    acme_server: Literal["staging", "production"]
    """Which of Let's Encrypt's servers signs."""

    @classmethod
    def of(
        cls, settings: Settings, storage_class: str, after: Sequence[pulumi.Resource]
    ) -> TraefikArgs:
        """The way in that a stack asks for."""
        return cls(
            chart=ChartSource.of("traefik", settings.traefik),
            exposure=settings.traefik.exposure,
            address=settings.ingress_address,
            storage_class=storage_class,
            after=after,
            acme_email=settings.traefik.acme.email,
            acme_server=settings.traefik.acme.server,
        )


class Traefik(pulumi.ComponentResource):
    """One Traefik, its certificates' volume, and the address that the router forwards to."""

    address: str
    """Ingress address: forward ports 80 and 443 to it."""
    resolver: str
    """Name of the ACME resolver for routes with TLS."""

    def __init__(
        self, name: str, args: TraefikArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Traefik", name, None, opts)
        self.address = str(args.address)
        self.resolver = RESOLVER
        namespace = make_namespace(
            self,
            f"{name}-namespace",
            NAMESPACE,
            # baseline refuses host network and host ports (facts/charts.md 5).
            "privileged" if args.exposure == "host-network" else "baseline",
            args.after,  # all others follow this one
        )
        volume = kubernetes.core.v1.PersistentVolumeClaim(
            f"{name}-certificates",
            metadata={"name": VOLUME, "namespace": NAMESPACE},
            spec={
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": args.storage_class,
                "resources": {"requests": {"storage": "128Mi"}},
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[namespace],
                # Longhorn makes the class some time after its release is there.
                custom_timeouts=pulumi.CustomTimeouts(create="10m", update="10m", delete="10m"),
            ),
        )
        kubernetes.helm.v3.Release(
            f"{name}-release",
            name="traefik",
            namespace=NAMESPACE,
            **args.chart.release_args(),
            values=values(args),
            timeout=600,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[volume],
                custom_timeouts=pulumi.CustomTimeouts(create="10m", update="10m", delete="10m"),
            ),
        )
        self.register_outputs({"address": self.address, "resolver": self.resolver})


def values(args: TraefikArgs) -> dict[str, Any]:
    """Values of the chart, for 41.x: its keys change with every major (facts/charts.md 2)."""
    if args.exposure == "host-network":
        # Ports below 1024 on the host's network need root: NET_BIND_SERVICE alone is not enough
        # there, as nothing makes it ambient (facts/charts.md 2).
        return _merged(_values(args, user=0), HOST_NETWORK)
    return _merged(_values(args, user=USER), _load_balancer(args.address))


def _values(args: TraefikArgs, user: int) -> dict[str, Any]:
    """What both exposures have in common."""
    return {
        "deployment": {
            "replicas": 1,
            # A file that others can read is refused; a new volume belongs to root. No
            # fsGroup instead: the kubelet would add the group's bits again (chart#257).
            "initContainers": [
                {
                    "name": "volume-permissions",
                    "image": INIT_IMAGE,
                    "command": [
                        "sh",
                        "-c",
                        f"chown -R {user}:{user} /data && "
                        "find /data -name 'acme*.json' -exec chmod 600 {} +",
                    ],
                    "securityContext": {"runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
        },
        "podSecurityContext": {
            "runAsNonRoot": user != 0,
            "runAsUser": user,
            "runAsGroup": user,
        },
        "ports": {
            "web": {
                "http": {
                    "redirections": {
                        "entryPoint": {"to": "websecure", "scheme": "https", "permanent": True}
                    }
                }
            },
            "websecure": {"http": {"tls": {"enabled": True, "certResolver": RESOLVER}}},
        },
        "certificatesResolvers": {
            RESOLVER: {
                "acme": {
                    "email": args.acme_email,
                    "caServer": CA_SERVERS[args.acme_server],
                    "storage": STORAGE[args.acme_server],
                    "httpChallenge": {"entryPoint": "web"},
                }
            }
        },
        "persistence": {"enabled": True, "existingClaim": VOLUME, "path": "/data"},
    }


def _load_balancer(address: IPv4Address) -> dict[str, Any]:
    return {
        # The volume is on one node at a time: the old pod goes before the new one comes.
        "updateStrategy": {"type": "Recreate"},
        "service": {
            "annotations": {"metallb.io/loadBalancerIPs": str(address)},
            "spec": {"type": "LoadBalancer"},
        },
    }


HOST_NETWORK: dict[str, Any] = {
    "hostNetwork": True,
    "deployment": {"dnsPolicy": "ClusterFirstWithHostNet"},
    # A host port is free only once the old pod is gone.
    "updateStrategy": {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    },
    "nodeSelector": {control_plane.LABEL: ""},
    "tolerations": [control_plane.TOLERATION],
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    },
    "service": {"enabled": False},
    "providers": {"kubernetesIngress": {"publishedService": {"enabled": False}}},
    "ports": {
        "web": {"port": 80, "hostPort": 80},
        "websecure": {"port": 443, "hostPort": 443},
        # 9100 is node-exporter's, on the same network.
        "metrics": {"port": 9101},
    },
}
"""What host-network adds: the control plane's own ports, which is where the VIP is."""


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result
