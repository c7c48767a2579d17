"""Kubernetes' version: an upgrade after all nodes have their Talos, before any machine config.

``talosctl upgrade-k8s`` goes from node to node and changes the machine configs as it goes. The
configs that are sent afterwards name the same version, so that they change nothing on a node; sent
first they would reach all nodes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from clients.talos import talosctl
from clients.tls import inputs_of
from lifecycle.operations import kubernetes_upgrade
from lifecycle.provider import MODULE, Provider


class KubernetesVersion(dynamic.Resource, module=MODULE, name="KubernetesVersion"):
    """The version of Kubernetes that a cluster runs."""

    def __init__(
        self,
        resource_name: str,
        *,
        cluster: str,
        talos: str,
        kubernetes: str,
        control_planes: str,
        return_s: int,
        has_come_up: bool,
        credentials: pulumi.Output[Any],
        after: Sequence[pulumi.Resource],
        identity: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> None:
        """Bring the cluster to ``kubernetes``, with its leading v, once ``after`` are done.

        ``has_come_up`` says whether any node of the cluster was ready once.
        """
        super().__init__(
            KubernetesVersionProvider(),
            resource_name,
            {
                "cluster": cluster,
                "talos": talos,
                "kubernetes": kubernetes,
                "control_planes": control_planes,
                "return_s": return_s,
                "has_come_up": has_come_up,
                **inputs_of(credentials),
            },
            pulumi.ResourceOptions(parent=parent, depends_on=after, deleted_with=identity),
        )


class KubernetesVersionProvider(Provider):
    """Does nothing on create; upgrades Kubernetes if its version changes."""

    name = "KubernetesVersion"
    id_input = "cluster"
    compared = ("kubernetes",)

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is needed, and is missing or too old."""
        if news["has_come_up"]:
            talosctl.require(news["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Upgrade; a cluster that has never come up is created with the new version."""
        if news["has_come_up"]:
            kubernetes_upgrade.upgrade(news)
