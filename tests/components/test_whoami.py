"""The demo site: its route, its certificate, and the rights of its pod."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from components.whoami import Whoami, WhoamiArgs
from rehearsal.record import Recording
from tests.recorder import one, record, sent, settings_with


def whoami_with(**changes: Any) -> Recording:
    """Record the resources of the component; its Traefik has only a ConfigMap."""
    settings = settings_with(**changes)

    def build() -> object:
        provider = pulumi.ProviderResource("kubernetes", "kubernetes", {})
        options = pulumi.ResourceOptions(providers=[provider])
        ingress = pulumi.ComponentResource("test:index:Traefik", "traefik", None, options)
        kubernetes.core.v1.ConfigMap("of-traefik", opts=pulumi.ResourceOptions(parent=ingress))
        args = WhoamiArgs.of(settings, ingress, "letsencrypt")
        return Whoami("whoami", args, options)

    return record(build)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return whoami_with()


def test_the_route_sends_the_host_over_https_to_the_service(recording: Recording) -> None:
    spec = sent(one(recording, "whoami-route"))["spec"]
    assert spec["entryPoints"] == ["websecure"]
    (rule,) = spec["routes"]
    assert rule["match"] == "Host(`tazlab.net`)"
    (target,) = rule["services"]
    service = sent(one(recording, "whoami-service"))
    assert target["name"] == service["metadata"]["name"]
    assert target["port"] == service["spec"]["ports"][0]["name"]
    assert spec["tls"] == {"certResolver": "letsencrypt"}


def test_the_service_sends_requests_to_the_port_of_the_pods(recording: Recording) -> None:
    service = sent(one(recording, "whoami-service"))["spec"]
    pod = sent(one(recording, "whoami-deployment"))["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    assert service["selector"] == pod["metadata"]["labels"]
    assert service["ports"] == [{"name": "http", "port": 80, "targetPort": port["name"]}]
    assert container["args"] == ["--port", str(port["containerPort"])]
    assert container["readinessProbe"]["httpGet"]["port"] == port["name"]


def test_a_wildcard_of_the_settings_is_the_certificate_of_the_route() -> None:
    dns = {"provider": "cloudflare", "credentials": {"CF_DNS_API_TOKEN": "abc"}}
    recording = whoami_with(
        traefik={"acme": {"dns": dns | {"wildcards": ["example.org"]}}},
        whoami={"host": "site.example.org"},
    )
    assert sent(one(recording, "whoami-route"))["spec"]["tls"] == {
        "certResolver": "letsencrypt",
        "domains": [{"main": "example.org", "sans": ["*.example.org"]}],
    }


def test_the_pod_has_no_more_rights_than_its_namespace_allows(recording: Recording) -> None:
    labels = sent(one(recording, "whoami-namespace"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = sent(one(recording, "whoami-deployment"))["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"] == {
        "requests": {"cpu": "10m", "memory": "16Mi"},
        "limits": {"memory": "64Mi"},
    }


def test_only_the_route_waits_for_traefik(recording: Recording) -> None:
    ingress = one(recording, "of-traefik").urn
    waits = [it.name for it in recording.resources if ingress in it.dependencies]
    assert waits == ["whoami-route"]
    for name in ("deployment", "service", "route"):
        resource = one(recording, f"whoami-{name}")
        assert one(recording, "whoami-namespace").urn in resource.dependencies
        assert dict(resource.custom_timeouts) == {"create": "5m", "update": "5m", "delete": "5m"}
