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
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown

from clients.errors import OperationError
from clients.talos import talosctl
from lifecycle.operations import config_diff, node_replacement
from lifecycle.operations import node as operations
from lifecycle.operations.power import Power
from lifecycle.provider import MODULE, Provider
from settings.node import Node, Role

if TYPE_CHECKING:
    from settings.models import Settings

MachineState: TypeAlias = Literal["gone", "off", "blank", "created", ""]
"""The state of a node's VM. ``gone``: not on Proxmox. ``off``: not running. ``blank``: without
machine config. ``created``: created in this run. Empty: none of these."""
LOST: tuple[MachineState, ...] = ("gone", "blank")
"""States of a VM that must be created or configured again."""


@dataclass(frozen=True, kw_only=True)
class OperationContext:
    """Inputs of operations that are the same for all nodes; not secret."""

    cluster: str
    """The stack tag; part of the file names of the lock and the snapshots."""
    vip: str
    """Virtual IP of the Kubernetes API."""
    talos: str
    """Talos version, with its leading v."""
    control_planes: str
    """``NAME=ADDRESS,...`` of all control planes."""
    age_recipient: str | None
    """The age recipient of etcd snapshots; ``None`` writes them in plain text."""
    proxmox_endpoint: str
    """URL of the Proxmox API, for power-cycles."""
    proxmox_insecure: bool
    """Whether to accept any certificate of Proxmox."""
    drain_s: int
    """Timeout of a drain in seconds (``timeouts.drain_s``)."""
    return_s: int
    """Timeout in seconds until a node is ready again (``timeouts.return_s``)."""
    rebuild_s: int
    """Timeout in seconds for Longhorn to rebuild or move replicas (``timeouts.rebuild_s``)."""

    @classmethod
    def from_settings(cls, settings: Settings) -> OperationContext:
        """Create the context from the settings of a stack."""
        return cls(
            cluster=settings.stack_tag,
            vip=str(settings.cluster.vip),
            talos=settings.cluster.talos,
            control_planes=",".join(
                f"{node.name}={node.address}"
                for node in settings.machines
                if node.role is Role.CONTROL_PLANE
            ),
            age_recipient=settings.age_recipient,
            proxmox_endpoint=settings.proxmoxve.endpoint,
            proxmox_insecure=settings.proxmoxve.insecure,
            drain_s=settings.timeouts.drain_s,
            return_s=settings.timeouts.return_s,
            rebuild_s=settings.timeouts.rebuild_s,
        )


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
    """Secret mapping: Talos client (``ca_certificate``, ``client_certificate``, ``client_key``),
    kubeconfig (``access``) and Proxmox API token (``proxmox_token``)."""


class NodeLifecycle(dynamic.Resource, module=MODULE, name="NodeLifecycle"):
    """A node of the cluster.

    Inputs are grouped, because each input costs time in every preview: Pulumi's SDK creates an
    output for each one and waits for it.
    """

    generation: pulumi.Output[int]
    """Generation counter: increments when a VM was deleted, reset or reinstalled."""

    def __init__(self, name: str, args: NodeLifecycleArgs, opts: pulumi.ResourceOptions) -> None:
        node = args.node
        super().__init__(
            NodeLifecycleProvider(),
            name,
            {
                "node": {
                    "name": node.name,
                    "address": str(node.address),
                    "control_plane": node.role is Role.CONTROL_PLANE,
                    "host": node.host,
                    "vm_id": node.vm_id,
                    "cores": node.cores,
                    "memory_mib": node.memory_mib,
                    "os_disk_gib": node.os_disk_gib,
                    "data_disk_gib": node.data_disk_gib,
                    "datastore": args.datastore,
                    "retains_data_disk": node.keep_data_disk_on_destroy,
                },
                "cluster": asdict(args.context),
                "installer": args.installer,
                "configuration": args.configuration,
                "patches": args.patches,
                "has_come_up": args.has_come_up,
                "machine_state": args.machine_state,
                "credentials": args.credentials,
                "generation": None,
            },
            opts,
        )


UPGRADE = ("cluster.talos", "installer")
"""Inputs whose change upgrades Talos."""
DISKS = ("node.os_disk_gib", "node.data_disk_gib")
"""Inputs whose change needs a reboot: Talos grows a partition only while it boots (siderolabs/talos
v1.13.9 internal/app/machined/pkg/controllers/block/volume_manager.go)."""
HARDWARE = ("node.cores", "node.memory_mib", *DISKS)
"""Inputs whose change needs a power-cycle."""
_HARDWARE_KEYS = [name.partition(".")[2] for name in HARDWARE]
CONFIG = ("patches", "cluster.vip", "cluster.talos")
"""Inputs whose change may need a reboot or restart Kubernetes components: the API server's
certificate contains the VIP, and another Talos version may generate another config."""


class NodeLifecycleProvider(Provider):
    """create: no-op; update: update or replace the node; delete: remove it from the cluster.

    ``check`` increments the generation. Pulumi calls it in each preview and ``up``, but not in a
    refresh. From then on the generation is an input like any other.
    """

    name = "NodeLifecycle"
    # Another control plane does not change this node. The storage of the disks never changes.
    # ``changed`` adds ``patches`` if the node goes down for them.
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

    def id_of(self, props: Mapping[str, Any]) -> str:
        """The name of the node."""
        return str(props["node"]["name"])

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.CheckResult:
        """Increment the generation if the VM is new, and clear ``machine_state`` if not.

        Raises ``OperationError`` if the VM is missing on Proxmox but not in the Pulumi state, and
        if talosctl is needed but missing.
        """
        olds, inputs = dict(olds), dict(news)
        last = olds.get("generation")
        inputs["generation"] = int(last or 1)
        if last is None or not is_new_machine(news):
            inputs["machine_state"] = ""
        else:
            if isinstance(news["credentials"], dict):  # otherwise unknown in a preview
                node_replacement.require_tools(flat(news))
            inputs["generation"] += 1
        return dynamic.CheckResult(inputs, [])

    def changed(self, olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
        """The inputs that differ; ``patches`` only if the change reboots the node or restarts a
        Kubernetes component on it."""
        found = super().changed(olds, news)
        if config_diff.takes_down(
            olds["patches"], news["patches"], control_plane=news["node"]["control_plane"]
        ):
            found.append("patches")
        return found

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if the update needs talosctl and it is missing or too old."""
        if (
            "generation" not in changed
            and news["has_come_up"]
            and _any(changed, (*UPGRADE, *HARDWARE, *CONFIG))
        ):
            talosctl.require(news["cluster"]["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> Mapping[str, Any] | None:
        """Update the node, or remove the old node of a new VM. Raises ``OperationError``."""
        changed = self.changed(olds, news)
        if "generation" in changed:
            return _remove_old_node(olds, news)
        if news["has_come_up"] and _any(changed, (*UPGRADE, *HARDWARE, *CONFIG)):
            operations.update_node(
                flat(news),
                grows=_any(changed, DISKS),
                old_patches=olds["patches"] if _any(changed, CONFIG) else None,
                restarts_api="cluster.vip" in changed,
            )
        return None

    def on_delete(self, props: dict[str, Any]) -> None:
        """Remove the node from the cluster. Pulumi does not call this if it destroys the whole
        stack."""
        operations.remove_node(flat(props))


def _remove_old_node(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Remove from the cluster the old node of a VM that was recreated or reset.

    This does not wait for the new node, which gets its machine config later in the run. A VM that
    was reset still runs its old Talos and hardware. So the outputs hold these old values, and the
    next run upgrades and power-cycles the node.
    """
    node_replacement.remove_stale_node(flat(news), with_disks=_has_lost_data_disk(news))
    if _is_another_vm(news):
        return None
    old_hardware = {key: olds["node"][key] for key in _HARDWARE_KEYS if key in olds["node"]}
    return {
        "node": {**news["node"], **old_hardware},
        "cluster": {**news["cluster"], "talos": olds["cluster"]["talos"]},
        "installer": olds["installer"],
    }


def is_new_machine(news: Mapping[str, Any]) -> bool:
    """Whether the VM was recreated, or has lost its machine config.

    Raises ``OperationError`` if the VM is missing on Proxmox but not in the Pulumi state.
    """
    match news["machine_state"]:
        case "blank" | "created":
            return True
        case "gone":
            props = flat(news)
            if Power.of(props).status():
                return True  # this run has created it
            raise OperationError(
                f"VM {props['vm_id']:g} of {props['node']} is not on Proxmox any more, but it is "
                "still in the Pulumi state. Run `make recover`, then `make up`, which creates the "
                "VM again (or `make up ARGS=--refresh`). Nothing has been touched."
            )
        case "off":
            # A reset may have shut the VM down. If this run has started it, check its config now.
            props = flat(news)
            return Power.of(props).status() == "running" and node_replacement.wait_for_answer(
                props["address"], node_replacement.BOOT_LIMIT
            )
        case state:
            return isinstance(state, Unknown)  # a preview that will create the VM


def flat(props: Mapping[str, Any]) -> dict[str, Any]:
    """The props of an operation: all inputs of ``NodeLifecycle`` in one mapping, without groups.

    The keys are the fields of ``OperationContext``, the keys of ``credentials``, and those of the
    group ``node``, except that ``node`` is the name of the node.
    """
    node = props["node"]
    return {
        **props["cluster"],
        **props["credentials"],
        **node,
        "node": node["name"],
        "installer": props["installer"],
        "patches": props["patches"],
        "configuration": props.get("configuration"),
    }


def _is_another_vm(news: Mapping[str, Any]) -> bool:
    """Whether the VM was recreated; ``False`` if the same VM has lost its machine config."""
    return news["machine_state"] not in ("blank", "off", "")


def _has_lost_data_disk(news: Mapping[str, Any]) -> bool:
    return _is_another_vm(news) and not news["node"]["retains_data_disk"]


def _any(changed: Sequence[str], keys: Sequence[str]) -> bool:
    return any(key in keys for key in changed)
