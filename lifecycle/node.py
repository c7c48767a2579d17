"""The lifecycle of a node: generation counter, update of a running node, removal.

There is one resource per node:

create: no-op. A new VM already has the wanted Talos, hardware and machine config.
update: if the VM was recreated, reset or reinstalled, remove the old node from the cluster.
Otherwise drain the node once and apply the new Talos version, hardware, and those parts of the
machine config that need a reboot or restart Kubernetes components.
delete: remove the node from the cluster.

The resources of all nodes form a dependency chain, control planes first, so Pulumi updates one node
at a time and stops at the first failure. The chain comes before the Kubernetes upgrade and before
every ``ConfigurationApply``, because a machine config may need the new Talos. The operations are in
``lifecycle/operations``. They get a kubeconfig through the Talos API, so they do not depend on
``ClusterReadiness``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown

from clients.errors import OperationError
from clients.talos import talosctl
from lifecycle.operations import config_diff, node_replacement
from lifecycle.operations import node as operations
from lifecycle.operations.context import (
    NodeContext,
    NodeCredentials,
    NodeSpec,
    OperationContext,
)
from lifecycle.operations.power import Power
from lifecycle.provider import Provider, Resource
from settings.node import Node

MachineState: TypeAlias = Literal["gone", "off", "blank", "created", ""]
"""The state of a node's VM. ``gone``: not on Proxmox. ``off``: not running. ``blank``: without
machine config. ``created``: created in this run. Empty: none of these."""
LOST: tuple[MachineState, ...] = ("gone", "blank")
"""States of a VM that must be created or configured again."""


@dataclass(frozen=True, kw_only=True)
class NodeLifecycleArgs:
    """Arguments of ``NodeLifecycle``."""

    node: Node
    """The node."""
    datastore: str
    """The Proxmox storage of its disks."""
    context: OperationContext
    """Inputs that are the same for all nodes."""
    installer: pulumi.Input[str]
    """The Talos install image."""
    configuration: pulumi.Input[str]
    """The base machine config of the node's role (YAML, secret)."""
    patches: Sequence[pulumi.Input[str]]
    """Config patches (YAML) for this node on top of ``configuration``."""
    has_come_up: bool
    """Whether the node was ready in an earlier run. Otherwise its VM is created with the new
    values, and an update does nothing."""
    machine_state: pulumi.Input[MachineState]
    """The state of its VM; unknown in a preview that will create the VM."""
    credentials: pulumi.Output[Mapping[str, str]]
    """The fields of ``NodeCredentials`` (secret)."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource.

        They are grouped, because each input costs time in every preview: Pulumi's SDK creates an
        output for each one and waits for it.
        """
        return {
            "node": asdict(NodeSpec.from_node(self.node, self.datastore)),
            "cluster": asdict(self.context),
            "installer": self.installer,
            "configuration": self.configuration,
            "patches": self.patches,
            "has_come_up": self.has_come_up,
            "machine_state": self.machine_state,
            "credentials": self.credentials,
            "generation": None,
        }


@dataclass(frozen=True, kw_only=True)
class NodeLifecycleInputs(NodeContext):
    """What the provider gets. The state has neither ``has_come_up`` nor ``machine_state``."""

    has_come_up: bool
    machine_state: MachineState | Unknown
    generation: int


class NodeLifecycle(Resource[NodeLifecycleArgs]):
    """A node of the cluster."""

    generation: pulumi.Output[int]
    """Generation counter: increments when a VM was deleted, reset or reinstalled."""


UPGRADE = ("cluster.talos", "installer")
"""Inputs whose change upgrades Talos."""
DISKS = ("node.os_disk_gib", "node.data_disk_gib")
"""Inputs whose change needs a reboot: Talos grows a partition only while it boots (siderolabs/talos
v1.13.9 internal/app/machined/pkg/controllers/block/volume_manager.go)."""
HARDWARE = ("node.cores", "node.memory_mib", *DISKS)
"""Inputs whose change needs a power-cycle."""
CONFIG = ("patches", "cluster.vip", "cluster.talos")
"""Inputs whose change may need a reboot or restart Kubernetes components: the API server's
certificate contains the VIP, and another Talos version may generate another config."""


class NodeLifecycleProvider(Provider[NodeLifecycleInputs]):
    """create: no-op; update: update or replace the node; delete: remove it from the cluster.

    ``check`` increments the generation. Pulumi calls it in each preview and ``up``, but not in a
    refresh. From then on the generation is an input like any other.
    """

    name = "NodeLifecycle"
    inputs = NodeLifecycleInputs
    # Another control plane does not change this node. The storage of the disks never changes.
    # ``further_changes`` adds ``patches`` if the node goes down for them.
    ignored = (
        "cluster.control_planes",
        "node.datastore",
        "node.retains_data_disk",
        "configuration",
        "patches",
        "has_come_up",
        "machine_state",
    )
    stored = ("node", "cluster", "installer", "patches", "credentials", "generation")

    def id_of(self, inputs: NodeLifecycleInputs) -> str:
        """The name of the node."""
        return inputs.node.name

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.CheckResult:
        """Increment the generation if the VM is new, and clear ``machine_state`` if not.

        Raises ``OperationError`` if the VM is missing on Proxmox but not in the Pulumi state, and
        if talosctl is needed but missing.
        """
        last, context = olds.get("generation"), self.parse(news)
        inputs = {**news, "generation": int(last or 1)}
        if last is None or not is_new_machine(context):
            inputs["machine_state"] = ""
        else:
            if isinstance(context.credentials, NodeCredentials):  # otherwise unknown in a preview
                node_replacement.require_tools(context)
            inputs["generation"] += 1
        return dynamic.CheckResult(inputs, [])

    def further_changes(self, olds: NodeLifecycleInputs, news: NodeLifecycleInputs) -> list[str]:
        """``patches`` if their change reboots the node or restarts a Kubernetes component on it."""
        is_down = config_diff.takes_down(
            olds.patches, news.patches, control_plane=news.node.control_plane
        )
        return ["patches"] if is_down else []

    def require(self, news: NodeLifecycleInputs, changed: Sequence[str]) -> None:
        """Raise ``OperationError`` if the update needs talosctl and it is missing or too old."""
        if "generation" not in changed and _needs_update(news, changed):
            talosctl.require(news.cluster.talos)

    def on_update(
        self, olds: NodeLifecycleInputs, news: NodeLifecycleInputs, changed: Sequence[str]
    ) -> Mapping[str, Any] | None:
        """Update the node, or remove the old node of a new VM. Raises ``OperationError``."""
        if "generation" in changed:
            return _remove_old_node(olds, news)
        if _needs_update(news, changed):
            operations.update_node(
                news,
                grows=_any(changed, DISKS),
                old_patches=olds.patches if _any(changed, CONFIG) else None,
                restarts_api="cluster.vip" in changed,
            )
        return None

    def on_delete(self, inputs: NodeLifecycleInputs) -> None:
        """Remove the node from the cluster. Pulumi does not call this if it destroys the whole
        stack."""
        operations.remove_node(inputs)


def _needs_update(news: NodeLifecycleInputs, changed: Sequence[str]) -> bool:
    """Whether a running node must be updated; a new VM is created with the new values."""
    return news.has_come_up and _any(changed, (*UPGRADE, *HARDWARE, *CONFIG))


def _any(changed: Sequence[str], keys: Sequence[str]) -> bool:
    return any(key in keys for key in changed)


def _remove_old_node(olds: NodeLifecycleInputs, news: NodeLifecycleInputs) -> dict[str, Any] | None:
    """Remove from the cluster the old node of a VM that was recreated or reset.

    This does not wait for the new node, which gets its machine config later in the run. A VM that
    was reset still runs its old Talos and hardware. So the outputs hold these old values, and the
    next run upgrades and power-cycles the node.
    """
    is_same_vm = news.machine_state in ("blank", "off", "")
    lost_disk = not is_same_vm and not news.node.retains_data_disk
    node_replacement.remove_stale_node(news, with_disks=lost_disk)
    if not is_same_vm:
        return None
    old_node = replace(
        news.node,
        cores=olds.node.cores,
        memory_mib=olds.node.memory_mib,
        os_disk_gib=olds.node.os_disk_gib,
        data_disk_gib=olds.node.data_disk_gib,
    )
    return {
        "node": asdict(old_node),
        "cluster": asdict(replace(news.cluster, talos=olds.cluster.talos)),
        "installer": olds.installer,
    }


def is_new_machine(context: NodeLifecycleInputs) -> bool:
    """Whether the VM was recreated, or has lost its machine config.

    Raises ``OperationError`` if the VM is missing on Proxmox but not in the Pulumi state.
    """
    match context.machine_state:
        case "blank" | "created":
            return True
        case "gone":
            if Power.of(context).status():
                return True  # this run has created it
            raise OperationError(
                f"VM {context.node.vm_id} of {context.node.name} is not on Proxmox any more, but "
                "it is still in the Pulumi state. Run `make recover`, then `make up`, which "
                "creates the VM again (or `make up ARGS=--refresh`). Nothing has been touched."
            )
        case "off":
            # A reset may have shut the VM down. If this run has started it, check its config now.
            is_running = Power.of(context).status() == "running"
            return is_running and node_replacement.is_in_maintenance(
                context.node.address, node_replacement.BOOT_TIMEOUT_S
            )
        case state:
            return isinstance(state, Unknown)  # a preview that will create the VM
