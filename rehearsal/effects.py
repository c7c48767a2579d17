"""What a change of one resource means to a living castle, and how long it takes, nominally."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lifecycle.node import HARDWARE, UPGRADE
from lifecycle.operations import config_diff
from rehearsal import timeline
from rehearsal.record import Recording, Resource
from rehearsal.values import reveal
from settings import resource_types

KEPT_DISK = "pulumi-python:dynamic/ephemeral-castle:RetainedDisk"
DRAIN, INSTALL, BOOT = 30, 60, 90
"""Seconds for which pods leave a node, an installer is written, a machine boots and gets ready."""
MOVE = 60
"""Seconds for which a volume moves to another node, and its pod starts there."""
RESTART = 20
"""Seconds for which a program of a control plane begins anew."""
_SNAPSHOT, _LEAVE, _KUBERNETES, _WRITE, _REMOVE = 10, 120, 40, 3, 10

_UNITS = {
    "memory_mib": "MiB memory",
    "cores": "cores",
    "os_disk_gib": "GiB disk",
    "data_disk_gib": "GiB disk",
}


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A step in words, with what it costs."""

    says: str
    seconds: int = 0
    node: str = ""
    """The node that is concerned, by its name."""
    drains: bool = False
    """Whether its pods have to go elsewhere."""
    away_s: int = 0
    """Seconds for which the node, or the API on it, does not answer."""


def of(what: str, old: Resource | None, new: Resource, recording: Recording) -> Effect:
    """What a step is; ``recording`` is the one that ``new`` belongs to."""
    if what == "update" and old is not None and new.type in _UPDATES:
        return _UPDATES[new.type](old, new, recording)
    if what == "delete" and new.type == KEPT_DISK:
        return Effect(says="is forgotten, and stays where it is")
    if what == "delete":
        return (
            _leave(new)
            if new.type == resource_types.NODE
            else Effect(says="is taken away", seconds=_REMOVE)
        )
    words = {"create": "is made", "replace": "is made anew", "update": "is changed in place"}
    return Effect(says=words[what], seconds=timeline.seconds(new), node=_node(new))


def is_another_vm(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    """Whether a node gets another VM: nothing else replaces one between two stack files."""
    return bool(olds["node"]["vm_id"] != news["node"]["vm_id"])


def _node(resource: Resource) -> str:
    if resource.type == resource_types.NODE:
        return str(resource.plain("node")["name"])
    return str(resource.plain("name") or "") if resource.type == resource_types.MACHINE else ""


def _update_node(old: Resource, new: Resource, recording: Recording) -> Effect:
    node, (olds, news) = _node(new), (reveal(dict(it.inputs)) for it in (old, new))
    if is_another_vm(olds, news):
        return Effect(says="the cluster forgets the machine that it was", node=node)
    upgraded = any(_entry(olds, key) != _entry(news, key) for key in UPGRADE)
    grown = [key for key in HARDWARE if _entry(olds, key) != _entry(news, key)]
    sides = olds["patches"], news["patches"]
    reconfigured = config_diff.needs_reboot(*sides)
    programs = config_diff.restarted(*sides, control_plane=news["node"]["control_plane"])
    if not upgraded and not grown and not reconfigured:
        return _restart(node, programs)
    turn = ["drained"]
    if upgraded:
        was, to = olds["cluster"]["talos"], news["cluster"]["talos"]
        turn.append(f"upgraded from Talos {was} to {to}" if was != to else "given the new image")
    if reconfigured or programs:
        turn.append("given its new machine config")
    if grown:
        sizes = (
            f"{_entry(olds, key)} → {_entry(news, key)} {_UNITS[key.partition('.')[2]]}"
            for key in grown
        )
        turn.append(f"power-cycled ({', '.join(sizes)})")
    else:
        turn.append("rebooted")
    return Effect(
        says=f"is {', '.join(turn)}, awaited",
        seconds=DRAIN + INSTALL * upgraded + BOOT,
        node=node,
        drains=True,
        away_s=BOOT,
    )


def _restart(node: str, programs: Sequence[str]) -> Effect:
    if not programs:
        return Effect(says="is written down", node=node)
    says = f"restarts {', '.join(programs)}, awaited"
    api = RESTART if "kube-apiserver" in programs else 0
    return Effect(says=says, seconds=RESTART, node=node, away_s=api)


def _entry(props: Mapping[str, Any], key: str) -> Any:
    """An input by its name; ``group.key`` names one entry of a group."""
    group, _, name = key.partition(".")
    return props[group].get(name) if name else props.get(group)


def _readiness(old: Resource, new: Resource, recording: Recording) -> Effect:
    return Effect(says="new nodes are awaited", seconds=timeline.seconds(new))


def _snapshot(old: Resource, new: Resource, recording: Recording) -> Effect:
    return Effect(says="etcd has to be healthy, and a snapshot of it is kept", seconds=_SNAPSHOT)


def _kubernetes(old: Resource, new: Resource, recording: Recording) -> Effect:
    was, to = old.plain("kubernetes"), new.plain("kubernetes")
    says = f"Kubernetes goes from {was} to {to}, node by node"
    return Effect(
        says=says, seconds=_KUBERNETES * len(list(recording.of_type(resource_types.NODE)))
    )


def _config(old: Resource, new: Resource, recording: Recording) -> Effect:
    return Effect(says="is sent, and taken up without a reboot", seconds=_WRITE)


def _machine(old: Resource, new: Resource, recording: Recording) -> Effect:
    if old.plain("nodeName") != new.plain("nodeName"):
        says = f"is migrated from {old.plain('nodeName')} to {new.plain('nodeName')}"
        return Effect(says=says, seconds=INSTALL)
    return Effect(says="is written down, for its node's turn", seconds=_WRITE)


def _storage(old: Resource, new: Resource, recording: Recording) -> Effect:
    turn, seconds = [], 0
    nodes = [set(reveal(it.inputs)["data_disks"].items()) for it in (old, new)]
    if nodes[1] - nodes[0]:
        turn.append("Longhorn's new disks are checked")
        seconds += timeline.seconds(new)
    was, to = old.plain("replicas"), new.plain("replicas")
    if was != to:
        turn.append(f"{', '.join(new.plain('claims'))}: {was} → {to} copies")
        seconds += MOVE
    if old.plain("chart_version") != new.plain("chart_version"):
        turn.append("Longhorn upgrades the engines of all volumes")
        seconds += MOVE
    return Effect(says="; ".join(turn) or "is written down", seconds=seconds)


def _release(old: Resource, new: Resource, recording: Recording) -> Effect:
    says = "is changed in place"
    was, to = (_reclaim_policy(it) for it in (old, new))
    if was != to:
        says += f"; new volumes get reclaim policy {to}, existing volumes keep {was}"
    return Effect(says=says, seconds=timeline.seconds(new))


def _reclaim_policy(release: Resource) -> str:
    return str(release.plain("values", {}).get("persistence", {}).get("reclaimPolicy", ""))


def _leave(life: Resource) -> Effect:
    turn = ["pods leave it", "Longhorn moves its replicas away"]
    if life.plain("node")["control_plane"]:
        turn.append("it leaves etcd")
    return Effect(
        says=f"{', '.join(turn)}, it leaves Kubernetes",
        seconds=DRAIN + _LEAVE,
        node=_node(life),
        drains=True,
    )


_UPDATES: dict[str, Callable[[Resource, Resource, Recording], Effect]] = {
    resource_types.NODE: _update_node,
    resource_types.READY: _readiness,
    resource_types.SNAPSHOT: _snapshot,
    resource_types.KUBERNETES_VERSION: _kubernetes,
    resource_types.APPLY: _config,
    resource_types.MACHINE: _machine,
    resource_types.RELEASE: _release,
    resource_types.STORAGE: _storage,
}
