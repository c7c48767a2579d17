"""Takes a snapshot of etcd before an upgrade of Talos or Kubernetes.

If the versions in its inputs change, ``up`` requires a healthy etcd and stores a snapshot before it
changes a node. A cluster without a node that was ever ready is skipped: its etcd has no data. The
snapshot before a single control plane is changed or removed is in ``operations/node.py``.
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
    """A snapshot of etcd in ``.state/etcd``, taken before each upgrade."""

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
        """Create the resource; all upgrades must depend on it.

        ``cluster`` is the stack tag; ``talos`` and ``kubernetes`` are versions with a leading v;
        ``installer`` is the install image; ``control_planes`` is ``NAME=ADDRESS,...``;
        ``age_recipient`` encrypts the snapshot (``None``: plain text); ``return_s`` is the timeout
        for the lock in seconds; ``has_come_up``: a node of the cluster was ready in an earlier run;
        ``credentials`` are a Talos client (secret); ``after`` are resources that come first;
        ``identity`` is the machine secrets resource, with which this one is deleted.
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
    """create and delete: nothing; update: take a snapshot."""

    name = "EtcdSnapshot"
    id_input = "cluster"
    compared = ("talos", "kubernetes", "installer")

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is missing or too old. A new cluster needs none."""
        if news["has_come_up"]:
            talosctl.require(news["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Take a snapshot. Raises ``OperationError`` if etcd is not healthy."""
        if news["has_come_up"]:
            with cluster_lock(news["cluster"], news["return_s"]):
                cluster = Cluster(news)
                cluster.etcd.require_health()
                cluster.take_snapshot()
