"""A node: its generation, what is done to it when its settings change, and its removal.

There is one resource for each node. Its methods do this:

create: nothing. A new machine already has the declared Talos, hardware and machine config.
update: if the machine was replaced or has lost its config, remove what the cluster still has of the
former machine. Otherwise drain the node once and bring it to its Talos version, its hardware and
those parts of its machine config that need a reboot or restart programs of Kubernetes.
delete: remove the node from the cluster.

The resources of all nodes depend on each other in a chain, control planes first: the engine takes
one node at a time, and stops at the first that does not come back. The chain comes before the
upgrade of Kubernetes and before every ``ConfigurationApply``, as a machine config may need the new
Talos. The operations reach the cluster through the Talos API, so that they do not wait for the
cluster's readiness. The operations themselves are in ``upkeep``.
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
"""The state of a node's machine: it is not on Proxmox; it has no power; it has no machine config;
it was created in this run; or it is as it should be."""
LOST: tuple[MachineState, ...] = ("gone", "blank")
"""States of a machine that the engine must create or configure again before its node answers."""


@dataclass(frozen=True, kw_only=True)
class OperationContext:
    """What operations need to know of the cluster; the same for all nodes, and not secret."""

    cluster: str
    """The stack tag: names the lock of the cluster and its snapshots."""
    vip: str
    """Virtual IP of the Kubernetes API."""
    talos: str
    """Talos version, with its leading v."""
    control_planes: str
    """``NAME=ADDRESS,...`` of all control planes."""
    age_recipient: str | None
    """The recipient that snapshots of etcd are encrypted for; ``None`` keeps them in plain text."""
    proxmox_endpoint: str
    """The Proxmox API, which power-cycles machines."""
    proxmox_insecure: bool
    """Whether the certificate of Proxmox is not verified."""
    drain_s: int
    """Seconds that pods have to leave a node."""
    return_s: int
    """Seconds that a node has to come back."""
    rebuild_s: int
    """Seconds that Longhorn has to rebuild or move replicas."""

    @classmethod
    def from_settings(cls, settings: Settings) -> OperationContext:
        """The context of a stack."""
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
    """One node, and what its operations need."""

    node: Node
    """The node."""
    datastore: str
    """The storage of its disks."""
    context: OperationContext
    """What operations need to know of the cluster."""
    installer: pulumi.Input[str]
    """The install image of Talos."""
    configuration: pulumi.Input[str]
    """The machine config of the node's role (secret)."""
    patches: Sequence[pulumi.Input[str]]
    """What the node's machine config has beside that of its role."""
    has_come_up: bool
    """Whether the node was ready once. One that never was is created with the new values."""
    machine_state: pulumi.Input[MachineState]
    """The state of its machine; unknown as long as the machine is about to be created."""
    credentials: pulumi.Output[Mapping[str, str]]
    """Secret: a client of Talos (``ca_certificate``, ``client_certificate``, ``client_key``), a
    kubeconfig (``access``) and Proxmox' API token (``proxmox_token``)."""


class NodeLifecycle(dynamic.Resource, module=MODULE, name="NodeLifecycle"):
    """A node of the cluster.

    Inputs are grouped: the SDK makes an output of every input, and waits for each of them.
    """

    generation: pulumi.Output[int]
    """Generation counter: increments when a VM was deleted, reset or reinstalled."""

    def __init__(self, name: str, args: NodeLifecycleArgs, opts: pulumi.ResourceOptions) -> None:
        """Look after one node."""
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
"""Inputs whose change needs a boot: Talos grows a partition only then (siderolabs/talos v1.13.9
internal/app/machined/pkg/controllers/block/volume_manager.go)."""
HARDWARE = ("node.cores", "node.memory_mib", *DISKS)
"""Inputs whose change needs a power-cycle."""
_HARDWARE_KEYS = [name.partition(".")[2] for name in HARDWARE]
CONFIG = ("patches", "cluster.vip", "cluster.talos")
"""Inputs whose change may need a reboot or restart programs of Kubernetes. The VIP is among the
names in the certificate of the Kubernetes API; the version of Talos changes what it generates."""


class NodeLifecycleProvider(Provider):
    """Creates nothing, updates a running node, and removes it from the cluster.

    ``check`` counts the generations. The engine calls it in each preview and ``up``, and never in a
    refresh. The count then is an input like any other.
    """

    name = "NodeLifecycle"
    # Not a change of a node: one more control plane; and where its disks are, which never changes.
    ignored = (
        "cluster.control_planes",
        "node.datastore",
        "node.retains_data_disk",
        "configuration",
        "patches",
        "has_come_up",
        "machine_state",
    )
    kept = ("node", "cluster", "installer", "patches", "credentials", "generation")

    def id_of(self, props: Mapping[str, Any]) -> str:
        """The name of the node."""
        return str(props["node"]["name"])

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.CheckResult:
        """Count the generation, and keep the state of the machine if it is a new one.

        Raises ``OperationError`` if the machine is gone but the engine does not know it, and if
        talosctl is missing and needed.
        """
        olds, inputs = dict(olds), dict(news)
        last = olds.get("generation")
        inputs["generation"] = int(last or 1)
        if last is None or not is_new_machine(news):
            inputs["machine_state"] = ""
        else:
            if isinstance(news["credentials"], dict):  # not unknown
                node_replacement.require_tools(flat(news))
            inputs["generation"] += 1
        return dynamic.CheckResult(inputs, [])

    def changed(self, olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
        """The inputs that change; ``patches`` only if the node, or a program of Kubernetes on it,
        goes down for the change."""
        found = super().changed(olds, news)
        if config_diff.takes_down(
            olds["patches"], news["patches"], control_plane=news["node"]["control_plane"]
        ):
            found.append("patches")
        return found

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise ``TalosctlError`` if talosctl is needed, and is missing or too old."""
        if (
            "generation" not in changed
            and news["has_come_up"]
            and _any(changed, (*UPGRADE, *HARDWARE, *CONFIG))
        ):
            talosctl.require(news["cluster"]["talos"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> Mapping[str, Any] | None:
        """Bring the node to what is declared; raises ``OperationError``."""
        changed = self.changed(olds, news)
        if "generation" in changed:
            return _replace(olds, news)
        if news["has_come_up"] and _any(changed, (*UPGRADE, *HARDWARE, *CONFIG)):
            operations.update_node(
                flat(news),
                grows=_any(changed, DISKS),
                old_patches=olds["patches"] if _any(changed, CONFIG) else None,
                restarts_api="cluster.vip" in changed,
            )
        return None

    def on_delete(self, props: dict[str, Any]) -> None:
        """Remove the node from the cluster. The engine does not call this if the whole stack is
        destroyed."""
        operations.remove_node(flat(props))


def _replace(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Remove what the cluster has of the former machine. The new one is not awaited here: it gets
    its machine config after the nodes of the chain.

    A machine that was reset keeps the Talos on its disk and the hardware that it was started with:
    the next run upgrades and power-cycles it.
    """
    node_replacement.remove_stale_node(flat(news), with_disks=_has_lost_data_disk(news))
    if _is_another_vm(news):
        return None
    kept = {key: olds["node"][key] for key in _HARDWARE_KEYS if key in olds["node"]}
    return {
        "node": {**news["node"], **kept},
        "cluster": {**news["cluster"], "talos": olds["cluster"]["talos"]},
        "installer": olds["installer"],
    }


def is_new_machine(news: Mapping[str, Any]) -> bool:
    """Whether the node's machine was replaced, or has lost its machine config."""
    match news["machine_state"]:
        case "blank" | "created":
            return True
        case "gone":
            props = flat(news)
            if Power.of(props).status():
                return True  # created a moment ago
            raise OperationError(
                f"VM {props['vm_id']:g} of {props['node']} is not on Proxmox any more, and the "
                "engine does not know. Run `make recover`, then `make up` makes it again (or "
                "`make up ARGS=--refresh`). Nothing has been touched."
            )
        case "off":
            # If this run has switched it on: a reset may have switched it off.
            props = flat(news)
            return Power.of(props).status() == "running" and node_replacement.wait_for_answer(
                props["address"], node_replacement.BOOT_LIMIT
            )
        case state:
            return isinstance(state, Unknown)  # a preview: the engine is about to create it


def flat(props: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as operations take them, without groups."""
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
    """Whether a new machine is another VM, and not the same VM without a machine config."""
    return news["machine_state"] not in ("blank", "off", "")


def _has_lost_data_disk(news: Mapping[str, Any]) -> bool:
    return _is_another_vm(news) and not news["node"]["retains_data_disk"]


def _any(changed: Sequence[str], keys: Sequence[str]) -> bool:
    return any(key in keys for key in changed)
