"""Which birth of a node it is: a machine that somebody deleted, reset or reinstalled is born again.

The providers do not see it: a machine that is made again never gets its config, and one that was
reset is not looked at. So every run looks itself (``survey.py``), and this resource counts. A new
birth is an update, which a preview shows; it takes away what the cluster still has of the former
machine, above all its member of etcd, which would keep the new one out. What a machine is given
once (its config, its gate) is made anew for each birth.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import pulumi
from pulumi import dynamic

from components.mutual_tls import inputs_of
from components.node_life import Upkeep
from lifecycle.provider import MODULE, Provider
from settings import Node, Role
from upkeep import rebirth
from upkeep.errors import UpkeepError
from upkeep.power import Power

Seen: TypeAlias = Literal["gone", "off", "blank", ""]
"""What a run saw of a machine: it is not on Proxmox, has no power, has no config; or nothing."""


class NodeBirth(dynamic.Resource, module=MODULE, name="NodeBirth"):
    """A node, by the machine that it is now."""

    births: pulumi.Output[int]
    """How often it was born."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: Node,
        upkeep: Upkeep,
        seen: Seen,
        machine: pulumi.CustomResource,
        credentials: pulumi.Output[Any],
        access: pulumi.Output[str],
        parent: pulumi.Resource,
    ) -> None:
        """Count the births of ``node`` on its ``machine``.

        ``credentials`` are a ``credentials.Client`` of Talos, ``access`` is a kubeconfig.
        """
        super().__init__(
            NodeBirthProvider(),
            resource_name,
            {
                **vars(upkeep),
                "node": node.name,
                "address": str(node.address),
                "control_plane": node.role is Role.CONTROL_PLANE,
                "host": node.host,
                "vm_id": node.vm_id,
                "machine": machine.id,
                "keeps_disk": node.keep_data_disk_on_destroy,
                "seen": seen,
                "births": None,
                "access": pulumi.Output.secret(access),
                **inputs_of(credentials),
            },
            pulumi.ResourceOptions(parent=parent, depends_on=[machine], deleted_with=machine),
        )


class NodeBirthProvider(Provider):
    """Counts; and makes room in the cluster for who is born again.

    Who counts is ``check``, which the engine asks in each preview and `up` and never in a refresh:
    the count is an input like any other then, and what was seen once is not kept.
    """

    name = "NodeBirth"
    id_input = "node"
    compared = ("births",)
    kept = ("node", "births")

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.CheckResult:
        """Put a count in the place of what was seen.

        Raises ``UpkeepError`` for a machine that is gone while the engine takes it to be there, and
        where talosctl is missing that is needed.
        """
        births = int(olds.get("births", 0)) or 1
        again = "births" in olds and is_born_again(olds, news)
        if again:
            rebirth.require_tools(news)
        inputs = {name: value for name, value in news.items() if name != "seen"}
        inputs["births"] = births + again
        inputs["lost_disk"] = again and _has_lost_disk(news)
        return dynamic.CheckResult(inputs, [])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Let the cluster forget the former machine."""
        rebirth.forget_former(news, with_disks=news["lost_disk"])


def is_born_again(olds: dict[str, Any], news: dict[str, Any]) -> bool:
    """Whether a machine is another one than it was."""
    if news["machine"] != olds["machine"]:
        return True  # in a preview: the engine is about to make it
    match news["seen"]:
        case "blank":
            return True
        case "gone":
            if Power.of(news).status():
                return True  # made a moment ago
            raise UpkeepError(
                f"VM {int(news['vm_id'])} of {news['node']} is not on Proxmox any more, and the "
                "engine does not know. Run `make recover`, then `make up` makes it again (or "
                "`make up ARGS=--refresh`). Nothing has been touched."
            )
        case "off":
            # Switched on in this very run, if at all; a reset may have switched it off.
            return Power.of(news).status() == "running" and rebirth.wait_for_answer(
                news["address"], rebirth.BOOT_LIMIT
            )
    return False


def _has_lost_disk(props: dict[str, Any]) -> bool:
    """Whether its data disk went with the former machine: a reset leaves it, and so does a wish."""
    return props["seen"] not in ("blank", "off") and not props["keeps_disk"]
