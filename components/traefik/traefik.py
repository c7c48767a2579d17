"""Traefik as ingress controller, with Let's Encrypt certificates on a persistent volume.

There are two exposures: ``load-balancer``, a Service with a fixed address of MetalLB's pool; and
``host-network``, ports 80 and 443 of the control plane, which the VIP points to. The volume is not
part of the Helm release, so certificates survive a new release and a change of exposure. Traefik
runs with one replica, because only one instance at a time can use an ACME account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from clients.kubernetes.api import CONTROL_PLANE, CONTROL_PLANE_TOLERATION
from components.shared import acme
from components.shared.objects import make_namespace, make_release, make_secret, timeouts
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
"""ACME directory URLs of Let's Encrypt (letsencrypt.org/docs/staging-environment)."""
USER = 65532
"""Numeric user id that Traefik runs as in the pod network."""
# renovate: datasource=docker depName=busybox
INIT_IMAGE = "busybox:1.37.0"


@dataclass(frozen=True, kw_only=True)
class TraefikArgs:
    """Arguments of ``Traefik``."""

    chart: ChartSource
    """The Helm chart."""
    exposure: Literal["load-balancer", "host-network"]
    """A LoadBalancer Service of MetalLB, or host ports of the control plane."""
    address: IPv4Address
    """Ingress address: an address of MetalLB's pool, or the VIP."""
    storage_class: str
    """Storage class of the volume for certificates."""
    after: Sequence[pulumi.Resource]
    """Resources to wait for: those that provide the storage class and the address pool."""
    acme_email: str
    """Contact address of the ACME account."""
    acme_server: Literal["staging", "production"]
    """The Let's Encrypt server that issues the certificates."""
    dns: DnsChallenge | None = None
    """Settings of the DNS-01 challenge; ``None`` uses HTTP-01, which needs port 80."""
    certificates: Mapping[str, str] | None = None
    """Decrypted backup by file name; each file is restored if the volume does not have it. Empty
    if there is no backup yet, ``None`` if the stack has no age key."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        storage_class: str,
        after: Sequence[pulumi.Resource],
        certificates: Mapping[str, str] | None,
    ) -> TraefikArgs:
        """Create the arguments from the settings; ``certificates`` is the backup by file name."""
        return cls(
            chart=ChartSource.of("traefik", settings.traefik),
            exposure=settings.traefik.exposure,
            address=settings.ingress_address,
            storage_class=storage_class,
            after=after,
            acme_email=settings.traefik.acme.email,
            acme_server=settings.traefik.acme.server,
            dns=settings.traefik.acme.dns,
            certificates=certificates,
        )


class Traefik(pulumi.ComponentResource):
    """Namespace, certificate volume and Helm release of Traefik."""

    address: str
    """Ingress address. The router must forward ports 80 and 443 to it."""
    acme_resolver: str
    """Name of Traefik's certificate resolver, for routes with TLS."""

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
            # Pod Security level "baseline" refuses host network and host ports.
            "privileged" if args.exposure == "host-network" else "baseline",
            args.after,  # everything below depends on the namespace
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
                # longhorn-manager creates the storage class some time after the Helm release.
                custom_timeouts=timeouts(10),
            ),
        )
        needed: list[pulumi.Resource] = [volume]
        if args.certificates is not None:
            # Changes of the data are ignored: otherwise each new backup would change the Secret.
            # Without a backup the Secret exists too, with no data: otherwise the first backup would
            # add it in the next `up`.
            backup, data = certificate_backup.SECRET, args.certificates
            needed.append(
                make_secret(self, f"{name}-backup", NAMESPACE, backup, data, [namespace], ["data"])
            )
        if args.dns is not None:
            data = acme.credentials(args.dns)
            needed.append(
                make_secret(self, f"{name}-dns", NAMESPACE, acme.SECRET, data, [namespace])
            )
        make_release(self, f"{name}-release", NAMESPACE, args.chart, values(args), needed)
        self.register_outputs({"address": self.address, "acme_resolver": self.acme_resolver})


def values(args: TraefikArgs) -> dict[str, Any]:
    """Return the chart values, for chart 41.x: each major version renames keys."""
    on_host = args.exposure == "host-network"
    # In the host network, ports below 1024 need root: NET_BIND_SERVICE alone is not enough, because
    # Kubernetes adds no ambient capabilities.
    result = _common_values(args, user=0 if on_host else USER)
    for additions in (
        HOST_NETWORK if on_host else _load_balancer(args.address),
        certificate_backup.secret_volume_values(args.certificates),
        acme.environment_values(args.dns),
    ):
        result = _merge(result, additions)
    return result


def _common_values(args: TraefikArgs, user: int) -> dict[str, Any]:
    """Return the values that both exposures need."""
    tls = {"enabled": True, "certResolver": RESOLVER, **acme.domains(args.dns)}
    return {
        "deployment": {
            "replicas": 1,
            # Traefik refuses a file that others can read, and a new volume belongs to root. An
            # fsGroup does not help: the kubelet makes files group-readable again
            # (traefik-helm-chart#257).
            "initContainers": [
                {
                    "name": "volume-permissions",
                    "image": INIT_IMAGE,
                    "command": ["sh", "-c", _init_script(user, args.certificates is not None)],
                    "securityContext": {"runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0},
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        *([] if args.certificates is None else [certificate_backup.MOUNT]),
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


def _init_script(user: int, restores: bool) -> str:
    """Return the ``sh`` script that prepares the volume before Traefik starts.

    It restores each backup file atomically, and only if the volume has no such file; then it sets
    owner and mode.
    """
    restore = (
        "for kept in /backup/acme*.json; do file=/data/${kept##*/}; "
        'if [ -s "$kept" ] && [ ! -s "$file" ]; then '
        'cp "$kept" "$file.new" && mv "$file.new" "$file" || exit 1; fi; done; '
    )
    return (
        f"{'umask 077; ' + restore if restores else ''}chown -R {user}:{user} /data && "
        "find /data -name 'acme*.json' -exec chmod 600 {} +"
    )


def _load_balancer(address: IPv4Address) -> dict[str, Any]:
    return {
        # ReadWriteOnce volume: Kubernetes must delete the old pod before it starts the new one.
        "updateStrategy": {"type": "Recreate"},
        "service": {
            "annotations": {"metallb.io/loadBalancerIPs": str(address)},
            # With the default, Cluster, a node between replaces the client's address by its own.
            # In L2 mode MetalLB then announces the address from the node that runs Traefik
            # (metallb.io/usage, Traffic policies).
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
        },
    }


HOST_NETWORK: dict[str, Any] = {
    "hostNetwork": True,
    "deployment": {"dnsPolicy": "ClusterFirstWithHostNet"},
    # The new pod can use the host ports only after the old pod has ended.
    "updateStrategy": {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    },
    "nodeSelector": {CONTROL_PLANE: ""},
    "tolerations": [CONTROL_PLANE_TOLERATION],
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
        # The default, 9100, is the port of node-exporter, which uses the host network too.
        "metrics": {"port": 9101},
    },
}
"""Additional values for the exposure ``host-network``. Traefik runs on a control plane, because the
VIP points to one."""


def _merge(base: dict[str, Any], additions: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in additions.items():
        both_are_dicts = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merge(result[key], value) if both_are_dicts else value
    return result
