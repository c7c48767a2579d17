"""A machine config's rollout to a node that lives, where it takes the node down for a while.

One resource a node, chained, after all upgrades and before the node's ``ConfigurationApply``,
which then has nothing left to do. Most of a config a node takes up as it runs: such a change is
none here, and all nodes get it at once. A change that Talos takes up by a reboot only, or that
restarts a control plane's own programs, goes from node to node. A new node does nothing here: it is
born with its config.

Leaves out how it is done (``upkeep/rollout.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from components.mutual_tls import inputs_of
from components.node_life import Upkeep
from lifecycle.provider import MODULE, Provider
from settings import Node, Role
from upkeep import config_change, rollout, talosctl


class ConfigRollout(dynamic.Resource, module=MODULE, name="ConfigRollout"):
    """A node's machine config, as far as the node goes down for it."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: Node,
        upkeep: Upkeep,
        configuration: pulumi.Output[str],
        patches: Sequence[pulumi.Input[str]],
        credentials: pulumi.Output[Any],
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Roll a role's ``configuration`` with a node's ``patches`` out to ``node``.

        ``credentials`` are a ``credentials.Client`` of Talos.
        """
        super().__init__(
            ConfigRolloutProvider(),
            resource_name,
            {
                "cluster": upkeep.cluster,
                "vip": upkeep.vip,
                "talos": upkeep.talos,
                "control_planes": upkeep.control_planes,
                "age_recipient": upkeep.age_recipient,
                "drain_s": upkeep.drain_s,
                "return_s": upkeep.return_s,
                "rebuild_s": upkeep.rebuild_s,
                "node": node.name,
                "address": str(node.address),
                "control_plane": node.role is Role.CONTROL_PLANE,
                "configuration": configuration,
                "patches": patches,
                **inputs_of(credentials),
            },
            opts,
        )


class ConfigRolloutProvider(Provider):
    """Does nothing on create, and takes the node's turn on update."""

    name = "ConfigRollout"
    id_input = "node"

    def changed(self, olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
        """The config, if the node or a program of Kubernetes on it goes down for the change."""
        return ["configuration"] if config_change.takes_down(olds, news) else []

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is missing or too old."""
        talosctl.require(news["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Take the node's turn."""
        rollout.roll_out(olds, news)
