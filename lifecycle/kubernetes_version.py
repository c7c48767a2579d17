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

from clients.talos import talosctl
from clients.tls import inputs_of
from lifecycle.operations import kubernetes_upgrade
from lifecycle.provider import MODULE, Provider


class KubernetesVersion(dynamic.Resource, module=MODULE, name="KubernetesVersion"):
    """The Kubernetes version of a cluster."""

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
        """Create the resource; the machine configs must depend on it.

        ``cluster`` is the stack tag; ``talos`` and ``kubernetes`` are versions with a leading v;
        ``control_planes`` is ``NAME=ADDRESS,...``; ``return_s`` is the timeout for the lock in
        seconds; ``has_come_up``: a node of the cluster was ready in an earlier run; ``credentials``
        are a Talos client (secret); ``after`` are resources that come first; ``identity`` is the
        machine secrets resource, with which this one is deleted.
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
    """create and delete: nothing; update: upgrade Kubernetes."""

    name = "KubernetesVersion"
    id_input = "cluster"
    compared = ("kubernetes",)

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is missing or too old. A new cluster needs none."""
        if news["has_come_up"]:
            talosctl.require(news["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Upgrade Kubernetes. A cluster without a node that was ever ready is created with the new
        version, so it needs no upgrade."""
        if news["has_come_up"]:
            kubernetes_upgrade.upgrade(news)
