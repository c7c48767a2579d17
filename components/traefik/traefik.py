"""Traefik: the way in, with Let's Encrypt certificates that outlive it.

Two exposures. ``load-balancer``: a Service at a fixed address of MetalLB's pool. ``host-network``:
ports 80 and 443 of the control plane, reached by the VIP. The certificates lie on a volume of our
own beside the release, so that going from one to the other, or a new release, keeps them.

Leaves out several replicas: the ACME account belongs to one Traefik at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from clients.kubernetes import control_plane
from components.shared import acme
from components.shared.namespace import make_namespace
from components.shared.secret import make_secret
from components.traefik import certificate_backup
from settings.chart_source import ChartSource
from settings.charts import DnsChallenge
from settings.models import Settings

NAMESPACE = "traefik"
VOLUME = "traefik-certificates"
RESOLVER = "letsencrypt"
CA_SERVERS = {
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "production": "https://acme-v02.api.letsencrypt.org/directory",
}
"""Let's Encrypt's directories (letsencrypt.org/docs/staging-environment)."""
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
    dns: DnsChallenge | None = None
    """How to prove by DNS that a name is ours; over port 80 where there is none."""
    kept: Mapping[str, str] | None = None
    """What an earlier castle had, by file: it is put on a volume that has none. ``None`` where
    nothing is kept."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        storage_class: str,
        after: Sequence[pulumi.Resource],
        kept: Mapping[str, str] | None,
    ) -> TraefikArgs:
        """The ingress of a stack. ``kept`` are the certificates that were kept, by file."""
        return cls(
            chart=ChartSource.of("traefik", settings.traefik),
            exposure=settings.traefik.exposure,
            address=settings.ingress_address,
            storage_class=storage_class,
            after=after,
            acme_email=settings.traefik.acme.email,
            acme_server=settings.traefik.acme.server,
            dns=settings.traefik.acme.dns,
            kept=kept,
        )


class Traefik(pulumi.ComponentResource):
    """One Traefik, its certificates' volume, and the address that the router forwards to."""

    address: str
    """Ingress address: forward ports 80 and 443 to it."""
    acme_resolver: str
    """Name of the ACME resolver for routes with TLS."""

    def __init__(
        self, name: str, args: TraefikArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Traefik", name, None, opts)
        self.address = str(args.address)
        self.acme_resolver = RESOLVER
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
        secrets = [
            make_secret(
                self,
                f"{name}-{kind}",
                secret,
                NAMESPACE,
                data,
                pulumi.ResourceOptions(depends_on=[namespace], ignore_changes=ignored),
            )
            for kind, secret, data, ignored in (
                # What this castle began with: a backup of its own is no change to it. Empty in a
                # first castle that will keep its own, which the first backup would change else.
                ("backup", certificate_backup.SECRET, args.kept, ["data"]),
                ("dns", acme.SECRET, acme.credentials(args.dns), None),
            )
            if data is not None
        ]
        kubernetes.helm.v3.Release(
            f"{name}-release",
            name="traefik",
            namespace=NAMESPACE,
            **args.chart.release_args(),
            values=values(args),
            timeout=600,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[volume, *secrets],
                custom_timeouts=pulumi.CustomTimeouts(create="10m", update="10m", delete="10m"),
            ),
        )
        self.register_outputs({"address": self.address, "acme_resolver": self.acme_resolver})


def values(args: TraefikArgs) -> dict[str, Any]:
    """Values of the chart, for 41.x: its keys change with every major (facts/charts.md 2)."""
    on_host = args.exposure == "host-network"
    # Ports below 1024 on the host's network need root: NET_BIND_SERVICE alone is not enough
    # there, as nothing makes it ambient (facts/charts.md 2).
    result = _values(args, user=0 if on_host else USER)
    exposed = HOST_NETWORK if on_host else _load_balancer(args.address)
    for more in (exposed, certificate_backup.mounted(args.kept), acme.sign_in(args.dns)):
        result = _merged(result, more)
    return result


def _values(args: TraefikArgs, user: int) -> dict[str, Any]:
    """What all forms have in common."""
    tls = {"enabled": True, "certResolver": RESOLVER, **acme.domains(args.dns)}
    return {
        "deployment": {
            "replicas": 1,
            # A file that others can read is refused; a new volume belongs to root. No
            # fsGroup instead: the kubelet would add the group's bits again (chart#257).
            "initContainers": [
                {
                    "name": "volume-permissions",
                    "image": INIT_IMAGE,
                    "command": ["sh", "-c", _prepare(user, put_back=args.kept is not None)],
                    "securityContext": {"runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0},
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        *([] if args.kept is None else [certificate_backup.MOUNT]),
                    ],
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
            "websecure": {"http": {"tls": tls}},
        },
        "certificatesResolvers": {
            RESOLVER: {
                "acme": {
                    "email": args.acme_email,
                    "caServer": CA_SERVERS[args.acme_server],
                    "storage": f"/data/{certificate_backup.SERVERS[args.acme_server]}",
                    **acme.challenge(args.dns),
                }
            }
        },
        "persistence": {"enabled": True, "existingClaim": VOLUME, "path": "/data"},
    }


def _prepare(user: int, *, put_back: bool) -> str:
    """What is done with the volume before Traefik starts, as a script for ``sh``.

    A file that is put back appears whole or not at all, and none takes the place of another.
    """
    back = (
        "for kept in /backup/acme*.json; do file=/data/${kept##*/}; "
        'if [ -s "$kept" ] && [ ! -s "$file" ]; then '
        'cp "$kept" "$file.new" && mv "$file.new" "$file" || exit 1; fi; done; '
    )
    return (
        f"{'umask 077; ' + back if put_back else ''}chown -R {user}:{user} /data && "
        "find /data -name 'acme*.json' -exec chmod 600 {} +"
    )


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
