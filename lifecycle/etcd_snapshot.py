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

from lifecycle.cluster_versions import ClusterVersionArgs, require_talosctl
from lifecycle.operations.cluster_health import Cluster
from lifecycle.operations.lock import cluster_lock
from lifecycle.provider import MODULE, Provider


class EtcdSnapshot(dynamic.Resource, module=MODULE, name="EtcdSnapshot"):
    """A snapshot of etcd in ``.state/etcd``, taken before each upgrade."""

    def __init__(
        self,
        name: str,
        args: ClusterVersionArgs,
        installer: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Create the resource; all upgrades must depend on it. ``installer`` is the Talos install
        image."""
        inputs = args.inputs() | {
            "installer": installer,
            "age_recipient": args.context.age_recipient,
        }
        super().__init__(EtcdSnapshotProvider(), name, inputs, opts)


class EtcdSnapshotProvider(Provider):
    """create and delete: nothing; update: take a snapshot."""

    name = "EtcdSnapshot"
    id_input = "cluster"
    compared = ("talos", "kubernetes", "installer")

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is missing or too old. A new cluster needs none."""
        require_talosctl(news)

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Take a snapshot. Raises ``OperationError`` if etcd is not healthy."""
        if news["has_come_up"]:
            with cluster_lock(news["cluster"], news["return_s"]):
                cluster = Cluster(news)
                cluster.etcd.require_health()
                cluster.take_snapshot()
