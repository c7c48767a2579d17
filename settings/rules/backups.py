"""Rules on what outlives the castle: it lies elsewhere, and can be reached and opened."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from ipaddress import IPv4Address

from settings.backups import S3, bucket_of, server_of
from settings.charts import Longhorn, MetalLB, Sops, Traefik
from settings.groups import Cluster, Nodes, Proxmox
from settings.plan import plan_nodes
from settings.problems import Problem


def backups_leave_the_castle(
    longhorn: Longhorn,
    s3: S3 | None,
    cluster: Cluster,
    nodes: Nodes,
    proxmox: Proxmox,
    metallb: MetalLB,
) -> Iterator[Problem]:
    """A backup on a machine of the castle goes when the castle goes."""
    owners = {node.address: node.short_name for node in plan_nodes(cluster, nodes, proxmox)}
    owners[cluster.vip] = "the VIP"
    for path, place, server in _servers(longhorn, s3):
        try:
            address = IPv4Address(server)
        except ValueError:
            continue  # a name: what it stands for is the network's to know
        owner = owners.get(address) or ("MetalLB's pool" if address in metallb.pool else None)
        if owner:
            yield Problem(
                path,
                place,
                f"belongs to the castle itself ({owner}): the backups would go with it",
                "name a server that is another machine of the house, or outside of it",
            )


def _servers(longhorn: Longhorn, s3: S3 | None) -> Iterator[tuple[str, str, str]]:
    """Path and value of each setting that names a server of backups, and that server."""
    if longhorn.backup and bucket_of(longhorn.backup.target) is None:
        target = longhorn.backup.target
        yield "longhorn.backup.target", target, server_of(target)
    if s3:
        yield "s3.endpoint", s3.endpoint, str(urllib.parse.urlsplit(s3.endpoint).hostname)


def buckets_have_an_account(
    longhorn: Longhorn, traefik: Traefik, s3: S3 | None
) -> Iterator[Problem]:
    """A bucket is reached by the account of the group ``s3``."""
    targets = {"traefik.acme.backup.target": traefik.acme.backup.target}
    if longhorn.backup:
        targets["longhorn.backup.target"] = longhorn.backup.target
    for path, target in targets.items():
        if s3 is None and bucket_of(target):
            yield Problem(
                path,
                target,
                "is a bucket, and there is no group s3 that says where and for whom",
                "write s3.endpoint and s3.access_key, then `pulumi config set --secret --path "
                "ephemeral-castle:s3.secret_key`",
            )


def snapshot_can_be_opened(cluster: Cluster, sops: Sops) -> Iterator[Problem]:
    """A snapshot is encrypted for the castle's age key."""
    if cluster.restore_from is not None and sops.age_key is None:
        yield Problem(
            "sops.age_key",
            "missing",
            f"cluster.restore_from {cluster.restore_from} is encrypted for it",
            "put in the key that the snapshot was made with: "
            "pulumi config set --secret --path ephemeral-castle:sops.age_key",
        )
