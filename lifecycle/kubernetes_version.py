"""Upgrades Kubernetes after all nodes have the wanted Talos, and before the machine configs are
sent.

``talosctl upgrade-k8s`` changes the machine config of one node after the other. The machine configs
that the Talos provider sends afterwards name the same version, so they restart nothing. If they
came first, they would upgrade all nodes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from lifecycle.cluster_versions import ClusterVersionArgs, require_talosctl
from lifecycle.operations import kubernetes_upgrade
from lifecycle.provider import MODULE, Provider


class KubernetesVersion(dynamic.Resource, module=MODULE, name="KubernetesVersion"):
    """The Kubernetes version of a cluster."""

    def __init__(self, name: str, args: ClusterVersionArgs, opts: pulumi.ResourceOptions) -> None:
        """Create the resource; the machine configs must depend on it."""
        super().__init__(KubernetesVersionProvider(), name, args.inputs(), opts)


class KubernetesVersionProvider(Provider):
    """create and delete: nothing; update: upgrade Kubernetes."""

    name = "KubernetesVersion"
    id_input = "cluster"
    compared = ("kubernetes",)

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is missing or too old. A new cluster needs none."""
        require_talosctl(news)

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Upgrade Kubernetes. A cluster without a node that was ever ready is created with the new
        version, so it needs no upgrade."""
        if news["has_come_up"]:
            kubernetes_upgrade.upgrade(news)
