"""A snapshot of etcd before a living cluster is upgraded, once in a run.

Its inputs are the versions. A change of them is an update: etcd must be healthy, and a snapshot is
kept, or nothing is touched. A new cluster, and one that has never come up, has nothing to keep yet.

Leaves out restoring (``restore.py``), and the snapshot before one control plane is power-cycled or
removed (``upkeep/node.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from clients.talos import talosctl
from clients.tls import inputs_of
from lifecycle.operations.cluster_health import Cluster
from lifecycle.operations.lock import cluster_lock
from lifecycle.provider import MODULE, Provider


class EtcdSnapshot(dynamic.Resource, module=MODULE, name="EtcdSnapshot"):
    """The newest snapshot before an upgrade; it lies in ``.state/etcd``."""

    def __init__(
        self,
        resource_name: str,
        *,
        cluster: str,
        talos: str,
        kubernetes: str,
        installer: pulumi.Input[str],
        control_planes: str,
        age_recipient: str | None,
        return_s: int,
        has_come_up: bool,
        credentials: pulumi.Output[Any],
        after: Sequence[pulumi.Resource],
        identity: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> None:
        """Stand before every upgrade, once ``after`` are done; versions have their leading v.

        ``age_recipient`` is whom snapshots are encrypted for; none keeps them in plain.
        ``has_come_up`` says whether any node of the cluster was ready once.
        """
        super().__init__(
            EtcdSnapshotProvider(),
            resource_name,
            {
                "cluster": cluster,
                "talos": talos,
                "kubernetes": kubernetes,
                "installer": installer,
                "control_planes": control_planes,
                "age_recipient": age_recipient,
                "return_s": return_s,
                "has_come_up": has_come_up,
                **inputs_of(credentials),
            },
            pulumi.ResourceOptions(parent=parent, depends_on=after, deleted_with=identity),
        )


class EtcdSnapshotProvider(Provider):
    """Takes a snapshot on update."""

    name = "EtcdSnapshot"
    id_input = "cluster"
    compared = ("talos", "kubernetes", "installer")

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is needed, and is missing or too old."""
        if news["has_come_up"]:
            talosctl.require(news["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Take a snapshot if etcd is healthy; raises ``OperationError`` if it is not."""
        if news["has_come_up"]:
            with cluster_lock(news["cluster"], news["return_s"]):
                cluster = Cluster(news)
                cluster.etcd.require_health()
                cluster.take_snapshot()
