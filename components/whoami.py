"""The demo site: traefik/whoami behind Traefik, to test DNS, port forwarding and certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.shared import acme
from components.shared.objects import make_custom_object, make_namespace, timeouts
from settings.models import Settings

NAMESPACE = "whoami"
# renovate: datasource=docker depName=traefik/whoami
IMAGE = "traefik/whoami:v1.11.0"
LABELS = {"app.kubernetes.io/name": "whoami"}


@dataclass(frozen=True, kw_only=True)
class WhoamiArgs:
    """Arguments of ``Whoami``."""

    host: str
    """Public host name of the site."""
    resolver: str
    """Name of Traefik's ACME resolver."""
    domains: Mapping[str, Any]
    """Key ``domains`` of the route's TLS section: a wildcard certificate that includes the host, or
    empty for a certificate of the host itself."""
    traefik: pulumi.Resource
    """The Traefik component. Only the IngressRoute waits for it, because it installs its CRD."""

    @classmethod
    def of(cls, settings: Settings, traefik: pulumi.Resource, resolver: str) -> WhoamiArgs:
        """Create the arguments from the settings."""
        host, dns = settings.whoami.host, settings.traefik.acme.dns
        domains = acme.domains(dns, host)
        return cls(host=host, traefik=traefik, resolver=resolver, domains=domains)


class Whoami(pulumi.ComponentResource):
    """Namespace, Deployment, Service and IngressRoute of the demo site."""

    url: str
    """HTTPS URL of the site."""

    def __init__(
        self, name: str, args: WhoamiArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Whoami", name, None, opts)
        self.url = f"https://{args.host}"
        namespace = make_namespace(self, f"{name}-namespace", NAMESPACE, "restricted")
        after_namespace = pulumi.ResourceOptions(
            parent=self, depends_on=[namespace], custom_timeouts=timeouts(5)
        )
        metadata = {"name": "whoami", "namespace": NAMESPACE, "labels": LABELS}
        kubernetes.apps.v1.Deployment(
            f"{name}-deployment",
            metadata=metadata,
            spec={
                "replicas": 1,
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": POD},
            },
            opts=after_namespace,
        )
        # No depends_on: the provider waits until the Service has the pods of the Deployment.
        kubernetes.core.v1.Service(
            f"{name}-service",
            metadata=metadata,
            spec={
                "selector": LABELS,
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
            opts=after_namespace,
        )
        make_custom_object(
            self,
            f"{name}-route",
            NAMESPACE,
            "whoami",
            "traefik.io/v1alpha1/IngressRoute",
            route_spec(args),
            [namespace, args.traefik],
        )
        self.register_outputs({"url": self.url})


POD: dict[str, Any] = {
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
}
"""The spec of the pod, which meets the Pod Security level ``restricted``."""


def route_spec(args: WhoamiArgs) -> dict[str, Any]:
    """Return the spec of the IngressRoute."""
    return {
        "entryPoints": ["websecure"],
        "routes": [
            {
                "kind": "Rule",
                "match": f"Host(`{args.host}`)",
                "services": [{"name": "whoami", "port": "http"}],
            }
        ],
        "tls": {"certResolver": args.resolver, **args.domains},
    }
