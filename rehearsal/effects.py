"""Describes what one step of an ``up`` does to a running cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lifecycle.node import HARDWARE, UPGRADE
from lifecycle.operations import config_diff
from rehearsal.record import Resource
from rehearsal.values import reveal
from settings import resource_types

_UNITS = {
    "memory_mib": "MiB memory",
    "cores": "cores",
    "os_disk_gib": "GiB disk",
    "data_disk_gib": "GiB disk",
}

_MESSAGES = {
    "create": "is created",
    "replace": "is replaced",
    "update": "is updated in place",
    "delete": "is deleted",
}
"""By operation: what the step does to a resource without a more precise message."""

_UPDATE_MESSAGES = {
    resource_types.READY: "waits until new nodes are ready",
    resource_types.SNAPSHOT: "checks that etcd is healthy, and saves a snapshot",
    resource_types.APPLY: "is applied without a reboot",
}
"""By resource type: what an update does, whatever has changed."""

_INTERRUPTED_BY_RELEASE = {
    "metallb": "MetalLB's speakers, which announce the ingress address",
    "traefik": "Traefik",
}
"""By name of a Helm release: the pods that an update restarts and that carry traffic."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a step does to the running cluster."""

    message: str
    """What the step does; the resource is the subject of the sentence."""
    node: str = ""
    """Name of the node that the step is for; empty if it is not for one node."""
    interrupts: str = ""
    """What is down during the step: a node, or a program; empty if nothing is."""
    drains: bool = False
    """Whether the node is drained first."""


def of(operation: str, old: Resource | None, new: Resource) -> Effect:
    """Return the effect of a step. For ``delete``, ``new`` is the resource that is deleted."""
    if operation == "update" and old is not None and new.type in _UPDATES:
        return _UPDATES[new.type](old, new)
    if operation == "delete" and new.type == resource_types.NODE:
        return _remove_node(new)
    if operation == "delete" and new.type == resource_types.RETAINED_DISK:
        return Effect(message="is removed from the state; the disk stays on its storage")
    message = _MESSAGES[operation]
    if operation == "update":
        message = _UPDATE_MESSAGES.get(new.type, message)
    node = _node_name(new)
    is_replaced_vm = operation == "replace" and new.type == resource_types.MACHINE
    return Effect(message=message, node=node, interrupts=node if is_replaced_vm else "")


def is_another_vm(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    """Return whether a node gets another VM. Between two stack files only a new VM id does that."""
    return bool(olds["node"]["vm_id"] != news["node"]["vm_id"])


def _node_name(resource: Resource) -> str:
    if resource.type == resource_types.NODE:
        return str(resource.plain("node")["name"])
    return str(resource.plain("name") or "") if resource.type == resource_types.MACHINE else ""


def _update_node(old: Resource, new: Resource) -> Effect:
    node, (olds, news) = _node_name(new), (reveal(dict(it.inputs)) for it in (old, new))
    if is_another_vm(olds, news):
        return Effect(message="the cluster removes the member on the old VM", node=node)
    is_upgraded = any(_entry(olds, key) != _entry(news, key) for key in UPGRADE)
    resized = [key for key in HARDWARE if _entry(olds, key) != _entry(news, key)]
    patches = olds["patches"], news["patches"]
    needs_reboot = config_diff.needs_reboot(*patches)
    programs = config_diff.restarted(*patches, control_plane=news["node"]["control_plane"])
    if not is_upgraded and not resized and not needs_reboot:
        return _restart(node, programs)
    actions = ["drained"]
    if is_upgraded:
        was, to = olds["cluster"]["talos"], news["cluster"]["talos"]
        actions.append(
            f"upgraded from Talos {was} to {to}" if was != to else "upgraded to the new image"
        )
    if needs_reboot or programs:
        actions.append("given its new machine config")
    if resized:
        sizes = (
            f"{_entry(olds, key)} → {_entry(news, key)} {_UNITS[key.partition('.')[2]]}"
            for key in resized
        )
        actions.append(f"power-cycled ({', '.join(sizes)})")
    else:
        actions.append("rebooted")
    return Effect(
        message=f"is {', '.join(actions)}; `up` waits until it is ready",
        node=node,
        interrupts=node,
        drains=True,
    )


def _restart(node: str, programs: Sequence[str]) -> Effect:
    if not programs:
        return Effect(message="is updated in the state only", node=node)
    names = ", ".join(programs)
    return Effect(
        message=f"restarts {names}; `up` waits until they are ready",
        node=node,
        interrupts=f"{names} on {node}",
    )


def _entry(inputs: Mapping[str, Any], key: str) -> Any:
    """Return the input ``name``, or with ``group.name`` one entry of the input ``group``."""
    group, _, name = key.partition(".")
    return inputs[group].get(name) if name else inputs.get(group)


def _update_kubernetes(old: Resource, new: Resource) -> Effect:
    return Effect(
        message=f"upgrades Kubernetes from {old.plain('kubernetes')} to "
        f"{new.plain('kubernetes')}, one node at a time",
        interrupts="kube-apiserver on one control plane at a time",
    )


def _update_vm(old: Resource, new: Resource) -> Effect:
    if old.plain("nodeName") != new.plain("nodeName"):
        message = f"is migrated from {old.plain('nodeName')} to {new.plain('nodeName')}"
        return Effect(message=message)
    return Effect(message="is updated in Proxmox; the change takes effect when its node restarts")


def _update_storage(old: Resource, new: Resource) -> Effect:
    actions = []
    old_disks, new_disks = (set(reveal(it.inputs)["data_disks"].items()) for it in (old, new))
    if new_disks - old_disks:
        actions.append("waits until Longhorn uses the new disks")
    was, to = old.plain("replicas"), new.plain("replicas")
    if was != to:
        actions.append(f"{', '.join(new.plain('claims'))}: {was} → {to} copies")
    if old.plain("chart_version") != new.plain("chart_version"):
        actions.append("Longhorn upgrades the engines of all volumes")
    return Effect(message="; ".join(actions) or "is updated in the state only")


def _update_release(old: Resource, new: Resource) -> Effect:
    message = "is updated in place"
    was, to = (_reclaim_policy(it) for it in (old, new))
    if was != to:
        message += f"; new volumes get reclaim policy {to}, existing volumes keep {was}"
    interrupted = _INTERRUPTED_BY_RELEASE.get(str(new.plain("name")), "")
    return Effect(message=message, interrupts=interrupted)


def _reclaim_policy(release: Resource) -> str:
    return str(release.plain("values", {}).get("persistence", {}).get("reclaimPolicy", ""))


def _remove_node(node: Resource) -> Effect:
    actions = ["is drained", "Longhorn moves its replicas to other nodes"]
    if node.plain("node")["control_plane"]:
        actions.append("it leaves etcd")
    name = _node_name(node)
    return Effect(
        message=f"{', '.join(actions)}, it is removed from Kubernetes",
        node=name,
        interrupts=name,
        drains=True,
    )


_UPDATES: dict[str, Callable[[Resource, Resource], Effect]] = {
    resource_types.NODE: _update_node,
    resource_types.KUBERNETES_VERSION: _update_kubernetes,
    resource_types.MACHINE: _update_vm,
    resource_types.RELEASE: _update_release,
    resource_types.STORAGE: _update_storage,
}
"""By resource type: the function that describes an update."""
