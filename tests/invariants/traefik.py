"""Invariants of Traefik: chart values, certificates, volumes, addresses and routes."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.record import Recording
from settings.resource_types import ADVERTISEMENT, CLAIM, POOL
from tests.invariants.kubernetes import depends_on_release, releases_of
from tests.invariants.registry import invariant

OTHER_VERSIONS_KEYS = {
    ("ports", "web", "redirectTo"),
    ("ports", "web", "redirections"),
    ("ports", "web", "tls"),
    ("ports", "websecure", "tls"),
    ("logs",),
    ("globalArguments",),
    ("certResolvers",),
    ("image", "name"),
    ("service", "type"),
    ("service", "loadBalancerIP"),
    ("deployment", "strategy"),
    ("persistence", "accessModes"),
}
"""Keys of other chart versions. Traefik's chart 41 rejects or ignores them."""

ROUTE = "kubernetes:traefik.io/v1alpha1:IngressRoute"


@invariant("traefik/traefik-helm-chart v41 values.schema.json")
def traefik_values_fit_the_chart_version(recording: Recording) -> Iterator[tuple[str, str]]:
    """The values have no key of another chart version. The chart rejects or ignores such keys."""
    for release in releases_of(recording, "traefik"):
        for path in sorted(OTHER_VERSIONS_KEYS):
            value = release.plain("values", {})
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                yield release.name, f"{'.'.join(path)} is not a key of this chart version"


@invariant("traefik: acme.json must have one writer")
def acme_has_one_replica(recording: Recording) -> Iterator[tuple[str, str]]:
    """With ACME there is one Traefik pod: two pods would corrupt acme.json. The chart rejects only
    some of these cases."""
    for release in releases_of(recording, "traefik"):
        values = release.plain("values", {})
        deployment = values.get("deployment", {})
        if values.get("certificatesResolvers") and (
            deployment.get("replicas", 1) != 1 or deployment.get("kind") == "DaemonSet"
        ):
            yield release.name, "ACME needs exactly one replica"


@invariant("traefik-helm-chart#396: Multi-Attach error for volume")
def an_update_releases_the_volume_first(recording: Recording) -> Iterator[tuple[str, str]]:
    """An update stops the old pod first: an RWO volume cannot be attached to two nodes."""
    for release in releases_of(recording, "traefik"):
        values = release.plain("values", {})
        if not values.get("persistence", {}).get("enabled"):
            continue
        strategy = values.get("updateStrategy", {})
        surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", 1)
        if strategy.get("type") != "Recreate" and surge != 0:
            yield release.name, "a rolling update waits for the volume of the old pod: use Recreate"


@invariant("traefik-helm-chart#164, #257")
def acme_json_is_private_and_persistent(recording: Recording) -> Iterator[tuple[str, str]]:
    """Traefik has no fsGroup and stores acme.json on a claim of this program. An fsGroup makes
    acme.json readable for the group, and Traefik then skips the resolver."""
    for release in releases_of(recording, "traefik"):
        values = release.plain("values", {})
        if "fsGroup" in values.get("podSecurityContext", {}):
            yield release.name, "permissions 660 for /data/acme.json are too open: no fsGroup"
        claim = values.get("persistence", {}).get("existingClaim")
        claims = {c.plain("metadata")["name"]: c.urn for c in recording.of_type(CLAIM)}
        if values.get("certificatesResolvers") and claims.get(claim) not in recording.before(
            release
        ):
            yield (
                release.name,
                "its certificates must be on a claim that is created before it",
            )


@invariant("metallb controller: can not have both; an address outside every pool stays pending")
def services_get_an_address_of_the_pool(recording: Recording) -> Iterator[tuple[str, str]]:
    """The Service sets its address once, in the annotation, and depends on the pool."""
    for release in releases_of(recording, "traefik"):
        service = release.plain("values", {}).get("service", {})
        if service.get("enabled") is False:
            continue
        wanted = service.get("annotations", {}).get("metallb.io/loadBalancerIPs")
        if not wanted or service.get("spec", {}).get("loadBalancerIP"):
            yield release.name, "its address must be set in MetalLB's annotation, and only there"
        pools = {pool.urn for pool in recording.of_type(POOL, ADVERTISEMENT)}
        if not pools or not pools <= recording.before(release):
            yield release.name, "has no dependency on the pool of its address"


@invariant("kubernetes: a claim stays Pending until its storage class exists")
def claims_wait_for_their_storage_class(recording: Recording) -> Iterator[tuple[str, str]]:
    """Claims of Longhorn's storage class depend on Longhorn's chart, which creates the class."""
    for claim in recording.of_type(CLAIM):
        wanted = claim.plain("spec", {}).get("storageClassName")
        if wanted == "longhorn" and not depends_on_release(recording, claim, "longhorn"):
            yield claim.name, "has no dependency on Longhorn, which creates its storage class"


@invariant("linux: ports below 1024 in the host network need root")
def host_network_traefik_can_bind_its_ports(recording: Recording) -> Iterator[tuple[str, str]]:
    """With host-network exposure Traefik runs on a control plane, as root, with cluster DNS."""
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
        for what, is_set in wanted.items():
            if not is_set:
                yield release.name, f"hostNetwork needs {what}"


@invariant("kubernetes: no matches for kind IngressRoute")
def routes_wait_for_traefik(recording: Recording) -> Iterator[tuple[str, str]]:
    """IngressRoutes depend on Traefik's chart, which installs their CRD."""
    for route in recording.of_type(ROUTE):
        if not depends_on_release(recording, route, "traefik"):
            yield route.name, "no matches for kind: has no dependency on Traefik's chart"
