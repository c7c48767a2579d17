"""Two resources that act if a version of the cluster changes: a snapshot of etcd, and the upgrade
of Kubernetes.

The snapshot comes before an upgrade of Talos or Kubernetes. The snapshot before a single control
plane is changed or removed is in ``operations/node.py``. Kubernetes is upgraded after all nodes
have the wanted Talos, and before the machine configs are sent. These name the same version, so they
restart nothing. If they came first, they would upgrade all nodes at once.

A cluster without a node that was ever ready is skipped: its etcd has no data, and it is created
with the new versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from clients.talos import talosctl
from clients.tls import ClientCredentials
from lifecycle.operations.cluster import Cluster, upgrade_kubernetes
from lifecycle.operations.context import ClusterContext, OperationContext
from lifecycle.operations.lock import cluster_lock
from lifecycle.provider import Provider, Resource, secret_credentials


@dataclass(frozen=True, kw_only=True)
class ClusterVersionArgs:
    """Arguments of ``KubernetesVersion``, and part of those of ``EtcdSnapshot``."""

    context: OperationContext
    """The stack tag, the Talos version, the control planes and the timeout of the lock."""
    kubernetes: str
    """Kubernetes version, with its leading v."""
    has_come_up: bool
    """Whether a node of the cluster was ready in an earlier run. Otherwise no update is needed."""
    credentials: pulumi.Output[ClientCredentials]
    """A Talos client; becomes a secret."""

    def inputs(self) -> dict[str, Any]:
        """The inputs that both resources have."""
        return {
            "cluster": self.context.cluster,
            "talos": self.context.talos,
            "kubernetes": self.kubernetes,
            "control_planes": self.context.control_planes,
            "return_s": self.context.return_s,
            "has_come_up": self.has_come_up,
            **secret_credentials(self.credentials),
        }


@dataclass(frozen=True, kw_only=True)
class EtcdSnapshotArgs:
    """Arguments of ``EtcdSnapshot``."""

    versions: ClusterVersionArgs
    """The cluster and its versions."""
    installer: pulumi.Input[str]
    """The Talos install image."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return self.versions.inputs() | {
            "installer": self.installer,
            "age_recipient": self.versions.context.age_recipient,
        }


@dataclass(frozen=True, kw_only=True)
class ClusterVersionInputs(ClusterContext, ClientCredentials):
    """What both providers get: a cluster, a Talos client and the Kubernetes version."""

    kubernetes: str
    has_come_up: bool


class EtcdSnapshot(Resource[EtcdSnapshotArgs]):
    """A snapshot of etcd in ``.state/etcd``, taken before each upgrade. All upgrades must depend on
    it."""


class KubernetesVersion(Resource[ClusterVersionArgs]):
    """The Kubernetes version of a cluster. The machine configs must depend on it."""


class ClusterVersionProvider(Provider[ClusterVersionInputs]):
    """create and delete: nothing; update: what ``apply`` does if the cluster has come up."""

    inputs = ClusterVersionInputs
    id_input = "cluster"

    def require(self, news: ClusterVersionInputs, changed: Sequence[str]) -> None:
        """Raise ``OperationError`` if talosctl is missing or too old. A new cluster needs none."""
        if news.has_come_up:
            talosctl.require(news.talos)

    def on_update(
        self, olds: ClusterVersionInputs, news: ClusterVersionInputs, changed: Sequence[str]
    ) -> None:
        """Apply the change under the lock of the cluster. Raises ``OperationError``, also if etcd
        is not healthy."""
        if news.has_come_up:
            talosctl.require(news.talos)
            with cluster_lock(news.cluster, news.return_s):
                cluster = Cluster(news, news)
                cluster.etcd.require_health()
                self.apply(cluster, news)

    def apply(self, cluster: Cluster, inputs: ClusterVersionInputs) -> None:
        """Act on a cluster with a healthy etcd."""
        raise NotImplementedError


class EtcdSnapshotProvider(ClusterVersionProvider):
    """update: take a snapshot."""

    name = "EtcdSnapshot"
    compared = ("talos", "kubernetes", "installer")

    def apply(self, cluster: Cluster, inputs: ClusterVersionInputs) -> None:
        """Take a snapshot."""
        cluster.take_snapshot()


class KubernetesVersionProvider(ClusterVersionProvider):
    """update: upgrade Kubernetes."""

    name = "KubernetesVersion"
    compared = ("kubernetes",)

    def apply(self, cluster: Cluster, inputs: ClusterVersionInputs) -> None:
        """Upgrade Kubernetes."""
        upgrade_kubernetes(cluster, inputs.kubernetes)
