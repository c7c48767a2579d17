"""What Traefik and its chart refuse: values, certificates, volumes, addresses, routes."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.record import Recording
from rehearsal.rules.book import rule
from rehearsal.rules.kubernetes import comes_after_release, releases_of
from rehearsal.rules.longhorn import TRAEFIK_41_KEYS
from settings.resource_types import ADVERTISEMENT, CLAIM, POOL, ROUTE


@rule("facts/charts.md 2")
def traefik_values_are_of_their_version(recording: Recording) -> Iterator[tuple[str, str]]:
    """Keys of other chart versions are refused, or worse, ignored."""
    for release in releases_of(recording, "traefik"):
        for path in sorted(TRAEFIK_41_KEYS):
            value = release.plain("values", {})
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                yield release.name, f"{'.'.join(path)} is not a key of this chart version"


@rule("traefik: one ACME account, one Traefik")
def acme_has_one_replica(recording: Recording) -> Iterator[tuple[str, str]]:
    """Two Traefiks with one acme.json spoil it; the chart notices only a part of the cases."""
    for release in releases_of(recording, "traefik"):
        values = release.plain("values", {})
        deployment = values.get("deployment", {})
        if values.get("certificatesResolvers") and (
            deployment.get("replicas", 1) != 1 or deployment.get("kind") == "DaemonSet"
        ):
            yield release.name, "with ACME there must be exactly one replica"


@rule("traefik-helm-chart#396: Multi-Attach error for volume")
def one_node_at_a_time_for_a_volume(recording: Recording) -> Iterator[tuple[str, str]]:
    """An RWO volume cannot be on the old pod's node and the new one's."""
    for release in releases_of(recording, "traefik"):
        values = release.plain("values", {})
        if not values.get("persistence", {}).get("enabled"):
            continue
        strategy = values.get("updateStrategy", {})
        surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", 1)
        if strategy.get("type") != "Recreate" and surge != 0:
            yield release.name, "a rolling update waits for ever for its volume: use Recreate"


@rule("traefik-helm-chart#164, #257")
def acme_file_is_private(recording: Recording) -> Iterator[tuple[str, str]]:
    """An fsGroup makes acme.json readable for its group, and Traefik skips the resolver."""
    for release in releases_of(recording, "traefik"):
        values = release.plain("values", {})
        if "fsGroup" in values.get("podSecurityContext", {}):
            yield release.name, "permissions 660 for /data/acme.json are too open: no fsGroup"
        claim = values.get("persistence", {}).get("existingClaim")
        claims = {c.plain("metadata")["name"]: c.urn for c in recording.of_type(CLAIM)}
        if values.get("certificatesResolvers") and claims.get(claim) not in recording.before(
            release
        ):
            yield release.name, "its certificates must lie on a volume of ours, made before it"


@rule("metallb controller: can not have both; an address outside of every pool stays pending")
def services_get_an_address_of_the_pool(recording: Recording) -> Iterator[tuple[str, str]]:
    """A LoadBalancer's address is named once, and waits for its pool."""
    for release in releases_of(recording, "traefik"):
        service = release.plain("values", {}).get("service", {})
        if service.get("enabled") is False:
            continue
        wanted = service.get("annotations", {}).get("metallb.io/loadBalancerIPs")
        if not wanted or service.get("spec", {}).get("loadBalancerIP"):
            yield release.name, "its address must be named by MetalLB's annotation, and only there"
        pools = {pool.urn for pool in recording.of_type(POOL, ADVERTISEMENT)}
        if not pools or not pools <= recording.before(release):
            yield release.name, "nothing orders it after the pool of its address"


@rule("facts/charts.md 2: the claim stays Pending until its class exists")
def claims_wait_for_their_class(recording: Recording) -> Iterator[tuple[str, str]]:
    """Longhorn makes its class; a claim waits for Longhorn, and long enough."""
    for claim in recording.of_type(CLAIM):
        wanted = claim.plain("spec", {}).get("storageClassName")
        if wanted == "longhorn" and not comes_after_release(recording, claim, "longhorn"):
            yield claim.name, "nothing orders it after Longhorn, which makes its storage class"


@rule("facts/charts.md 2: host ports below 1024 need root on the host's network")
def host_network_works(recording: Recording) -> Iterator[tuple[str, str]]:
    """Ports of the control plane: on its node, by root, with cluster DNS."""
    for release in releases_of(recording, "traefik"):
        values = release.plain("values", {})
        if not values.get("hostNetwork"):
            continue
        wanted = {
            "nodeSelector of a control plane": "node-role.kubernetes.io/control-plane"
            in values.get("nodeSelector", {}),
            "toleration of its taint": bool(values.get("tolerations")),
            "root": values.get("podSecurityContext", {}).get("runAsUser") == 0,
            "dnsPolicy ClusterFirstWithHostNet": values.get("deployment", {}).get("dnsPolicy")
            == "ClusterFirstWithHostNet",
            "hostPort equal to port": all(
                port.get("hostPort") == port.get("port")
                for name, port in values.get("ports", {}).items()
                if name in ("web", "websecure")
            ),
        }
        for what, there in wanted.items():
            if not there:
                yield release.name, f"on the host's network it needs {what}"


@rule("kubernetes: no matches for kind IngressRoute")
def routes_wait_for_traefik(recording: Recording) -> Iterator[tuple[str, str]]:
    """Traefik's chart brings the CRDs of its routes."""
    for route in recording.of_type(ROUTE):
        if not comes_after_release(recording, route, "traefik"):
            yield route.name, "no matches for kind: nothing orders it after Traefik's chart"
