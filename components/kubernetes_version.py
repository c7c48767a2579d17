"""Kubernetes' version: an upgrade after all nodes have their Talos, before any machine config.

``talosctl upgrade-k8s`` goes from node to node and changes the machine configs as it goes. The
configs that are sent afterwards name the same version, so that they change nothing on a node; sent
first they would reach all nodes at once.

The state names ``KubernetesVersionProvider`` by this module: a castle that was built before a move
of it could not be changed after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from components.mutual_tls import inputs_of
from upkeep import kubernetes as upkeep
from upkeep import talosctl


class KubernetesVersion(dynamic.Resource, module="castle", name="KubernetesVersion"):
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


class KubernetesVersionProvider(dynamic.ResourceProvider):
    """A new castle is born with its version; a change of it is an upgrade."""

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Write down what the cluster is born with."""
        return dynamic.CreateResult(props["cluster"], _kept(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Tell whether the version changes."""
        changes = olds["kubernetes"] != news["kubernetes"]
        if changes and news["has_come_up"]:
            talosctl.require(news["talos"])
        return dynamic.DiffResult(changes=changes, replaces=[])

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Upgrade; a cluster that has never come up is created with the new version."""
        if news["has_come_up"]:
            upkeep.upgrade(news)
        return dynamic.UpdateResult(_kept(news))


def _kept(props: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in props.items() if key != "__provider"}
