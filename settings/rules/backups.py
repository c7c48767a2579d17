"""Rules for backups: outside of the cluster, with credentials and a key."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from ipaddress import IPv4Address

from settings.backups import S3, bucket_of, server_of
from settings.charts import Longhorn, MetalLB, Sops, Traefik
from settings.groups import Cluster, Nodes, Proxmox
from settings.plan import plan_nodes
from settings.problems import Problem


def backup_servers_outside_the_cluster(
    longhorn: Longhorn,
    s3: S3 | None,
    cluster: Cluster,
    nodes: Nodes,
    proxmox: Proxmox,
    metallb: MetalLB,
) -> Iterator[Problem]:
    """A backup on a node of the cluster is deleted with the cluster."""
    owners = {node.address: node.short_name for node in plan_nodes(cluster, nodes, proxmox)}
    owners[cluster.vip] = "the VIP"
    for path, value, server in _servers(longhorn, s3):
        try:
            address = IPv4Address(server)
        except ValueError:
            continue  # a host name: rules do not query the DNS
        owner = owners.get(address) or ("MetalLB's pool" if address in metallb.pool else None)
        if owner:
            yield Problem(
                path,
                value,
                f"is an address of this cluster ({owner}): backups would be lost with the cluster",
                "use a server outside of the cluster",
            )


def _servers(longhorn: Longhorn, s3: S3 | None) -> Iterator[tuple[str, str, str]]:
    """Path, value and server of each setting that names a backup server."""
    if longhorn.backup and bucket_of(longhorn.backup.target) is None:
        target = longhorn.backup.target
        yield "longhorn.backup.target", target, server_of(target)
    if s3:
        yield "s3.endpoint", s3.endpoint, str(urllib.parse.urlsplit(s3.endpoint).hostname)


def buckets_have_credentials(
    longhorn: Longhorn, traefik: Traefik, s3: S3 | None
) -> Iterator[Problem]:
    """A target that is a bucket needs the group ``s3``."""
    targets = {"traefik.acme.backup.target": traefik.acme.backup.target}
    if longhorn.backup:
        targets["longhorn.backup.target"] = longhorn.backup.target
    for path, target in targets.items():
        if s3 is None and bucket_of(target):
            yield Problem(
                path,
                target,
                "is a bucket, and needs the group s3 (endpoint and credentials), which is missing",
                "write s3.endpoint and s3.access_key, then run `pulumi config set --secret --path "
                "ephemeral-castle:s3.secret_key`",
            )


def snapshot_can_be_decrypted(cluster: Cluster, sops: Sops) -> Iterator[Problem]:
    """A snapshot is encrypted with the age key of its stack."""
    if cluster.restore_from is not None and sops.age_key is None:
        yield Problem(
            "sops.age_key",
            "missing",
            f"cluster.restore_from {cluster.restore_from} is encrypted with an age key",
            "set the age key of the stack that wrote the snapshot: "
            "`pulumi config set --secret --path ephemeral-castle:sops.age_key`",
        )
