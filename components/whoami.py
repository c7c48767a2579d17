"""The demo site: the proof that a person can open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.shared import acme
from components.shared.namespace import make_namespace
from settings.models import Settings

NAMESPACE = "whoami"
# renovate: datasource=docker depName=traefik/whoami
IMAGE = "traefik/whoami:v1.11.0"
LABELS = {"app.kubernetes.io/name": "whoami"}


@dataclass(frozen=True, kw_only=True)
class WhoamiArgs:
    """Where the site is found."""

    host: str
    """Public name of the site."""
    resolver: str
    """Traefik's ACME resolver."""
    domains: Mapping[str, Any]
    """What its TLS asks for in place of the host: a certificate with a wildcard, if one is good."""
    traefik: pulumi.Resource
    """What brings the kind of the site's route; the site itself need not wait for it."""

    @classmethod
    def of(cls, settings: Settings, traefik: pulumi.Resource, resolver: str) -> WhoamiArgs:
        """The demo site that a stack asks for."""
        host, dns = settings.whoami.host, settings.traefik.acme.dns
        domains = acme.domains(dns, host)
        return cls(host=host, traefik=traefik, resolver=resolver, domains=domains)


class Whoami(pulumi.ComponentResource):
    """A page that says who asked, over HTTPS."""

    url: str
    """What to open in a browser."""

    def __init__(
        self, name: str, args: WhoamiArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Whoami", name, None, opts)
        self.url = f"https://{args.host}"
        limits = pulumi.CustomTimeouts(create="5m", update="5m", delete="5m")
        namespace = make_namespace(self, f"{name}-namespace", NAMESPACE, "restricted")
        after_namespace = pulumi.ResourceOptions(
            parent=self, depends_on=[namespace], custom_timeouts=limits
        )
        metadata = {"name": "whoami", "namespace": NAMESPACE, "labels": LABELS}
        kubernetes.apps.v1.Deployment(
            f"{name}-deployment",
            metadata=metadata,
            spec={
                "replicas": 1,
                "selector": {"matchLabels": LABELS},
                "template": {
                    "metadata": {"labels": LABELS},
                    "spec": {
                        "automountServiceAccountToken": False,
                        "securityContext": {
                            "runAsNonRoot": True,
                            "runAsUser": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [
                            {
                                "name": "whoami",
                                "image": IMAGE,
                                "args": ["--port", "8080"],
                                "ports": [{"name": "http", "containerPort": 8080}],
                                "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
                                "resources": {
                                    "requests": {"cpu": "10m", "memory": "16Mi"},
                                    "limits": {"memory": "64Mi"},
                                },
                                "securityContext": {
                                    "allowPrivilegeEscalation": False,
                                    "readOnlyRootFilesystem": True,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                            }
                        ],
                    },
                },
            },
            opts=after_namespace,
        )
        # Its own wait is for the deployment's pods.
        kubernetes.core.v1.Service(
            f"{name}-service",
            metadata=metadata,
            spec={
                "selector": LABELS,
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
            opts=after_namespace,
        )
        kubernetes.apiextensions.CustomResource(
            f"{name}-route",
            api_version="traefik.io/v1alpha1",
            kind="IngressRoute",
            metadata={"name": "whoami", "namespace": NAMESPACE},
            spec={
                "entryPoints": ["websecure"],
                "routes": [
                    {
                        "kind": "Rule",
                        "match": f"Host(`{args.host}`)",
                        "services": [{"name": "whoami", "port": "http"}],
                    }
                ],
                "tls": {"certResolver": args.resolver, **args.domains},
            },
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[namespace, args.traefik], custom_timeouts=limits
            ),
        )
        self.register_outputs({"url": self.url})
