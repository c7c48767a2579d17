"""What a change of one resource means to a living castle, and how long it takes, nominally."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from components.node_life import DISKS, HARDWARE, TALOS
from rehearsal import kinds, timeline
from rehearsal.record import Castle, Resource
from rehearsal.values import reveal
from upkeep import config_change

KEPT_DISK = "pulumi-python:dynamic/castle:KeptDisk"
DRAIN, INSTALL, BOOT = 30, 60, 90
"""Seconds for which pods leave a node, an installer is written, a machine boots and gets ready."""
MOVE = 60
"""Seconds for which a volume moves to another node, and its pod starts there."""
RESTART = 20
"""Seconds for which a program of a control plane begins anew."""
_SNAPSHOT, _LEAVE, _KUBERNETES, _WRITE, _REMOVE = 10, 120, 40, 3, 10

_UNITS = {"memory_mib": "MiB memory", "cores": "cores"} | dict.fromkeys(DISKS, "GiB disk")


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A step in words, with what it costs."""

    says: str
    seconds: int = 0
    node: str = ""
    """The node that is concerned, by its name."""
    drains: bool = False
    """Whether its pods have to go elsewhere."""
    away_s: int = 0
    """Seconds for which the node, or the API on it, does not answer."""


def of(what: str, old: Resource | None, new: Resource, castle: Castle) -> Deed:
    """What a step is; ``castle`` is the one that ``new`` belongs to."""
    if what == "update" and old is not None and new.type in _UPDATES:
        return _UPDATES[new.type](old, new, castle)
    if what == "delete" and new.type == KEPT_DISK:
        return Deed(says="is forgotten, and stays where it is")
    if what == "delete":
        return (
            _leave(new) if new.type == kinds.LIFE else Deed(says="is taken away", seconds=_REMOVE)
        )
    words = {"create": "is made", "replace": "is made anew", "update": "is changed in place"}
    return Deed(says=words[what], seconds=timeline.seconds(new), node=_node(new))


def _node(resource: Resource) -> str:
    named = resource.plain("node") or resource.plain("name") or ""
    return str(named) if resource.type in (kinds.MACHINE, kinds.LIFE, kinds.ROLLOUT) else ""


def _life(old: Resource, new: Resource, castle: Castle) -> Deed:
    node = _node(new)
    upgraded = any(old.plain(key) != new.plain(key) for key in TALOS)
    grown = [key for key in HARDWARE if old.plain(key) != new.plain(key)]
    if not upgraded and not grown:
        return Deed(says="is written down", node=node)
    turn = ["drained"]
    if upgraded:
        was, to = old.plain("talos"), new.plain("talos")
        turn.append(f"upgraded from Talos {was} to {to}" if was != to else "given the new image")
        turn.append("rebooted")
    if grown:
        sizes = (f"{old.plain(key)} → {new.plain(key)} {_UNITS[key]}" for key in grown)
        turn.append(f"power-cycled ({', '.join(sizes)})")
    away = BOOT * (upgraded + bool(grown))
    return Deed(
        says=f"is {', '.join(turn)}, awaited",
        seconds=DRAIN + INSTALL * upgraded + away,
        node=node,
        drains=True,
        away_s=away,
    )


def _rollout(old: Resource, new: Resource, castle: Castle) -> Deed:
    node, sides = _node(new), [reveal(dict(it.inputs)) for it in (old, new)]
    if config_change.needs_reboot(*sides):
        return Deed(
            says="is drained, rebooted with its new machine config, awaited",
            seconds=DRAIN + BOOT,
            node=node,
            drains=True,
            away_s=BOOT,
        )
    programs = ", ".join(config_change.restarted(*sides))
    says = f"restarts {programs}, awaited"
    api = RESTART if "kube-apiserver" in programs else 0
    return Deed(says=says, seconds=RESTART, node=node, away_s=api)


def _snapshot(old: Resource, new: Resource, castle: Castle) -> Deed:
    return Deed(says="etcd has to be healthy, and a snapshot of it is kept", seconds=_SNAPSHOT)


def _kubernetes(old: Resource, new: Resource, castle: Castle) -> Deed:
    was, to = old.plain("kubernetes"), new.plain("kubernetes")
    says = f"Kubernetes goes from {was} to {to}, node by node"
    return Deed(says=says, seconds=_KUBERNETES * len(list(castle.of_type(kinds.LIFE))))


def _config(old: Resource, new: Resource, castle: Castle) -> Deed:
    return Deed(says="is sent, and taken up without a reboot", seconds=_WRITE)


def _machine(old: Resource, new: Resource, castle: Castle) -> Deed:
    if old.plain("nodeName") != new.plain("nodeName"):
        says = f"is migrated from {old.plain('nodeName')} to {new.plain('nodeName')}"
        return Deed(says=says, seconds=INSTALL)
    return Deed(says="is written down, for its node's turn", seconds=_WRITE)


def _storage(old: Resource, new: Resource, castle: Castle) -> Deed:
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
    return Deed(says="; ".join(turn) or "is written down", seconds=seconds)


def _release(old: Resource, new: Resource, castle: Castle) -> Deed:
    says = "is changed in place"
    was, to = (_reclaim_policy(it) for it in (old, new))
    if was != to:
        says += f"; new volumes get reclaim policy {to}, existing volumes keep {was}"
    return Deed(says=says, seconds=timeline.seconds(new))


def _reclaim_policy(release: Resource) -> str:
    return str(release.plain("values", {}).get("persistence", {}).get("reclaimPolicy", ""))


def _leave(life: Resource) -> Deed:
    turn = ["pods leave it", "Longhorn moves its replicas away"]
    if life.plain("control_plane"):
        turn.append("it leaves etcd")
    return Deed(
        says=f"{', '.join(turn)}, it leaves Kubernetes",
        seconds=DRAIN + _LEAVE,
        node=_node(life),
        drains=True,
    )


_UPDATES: dict[str, Callable[[Resource, Resource, Castle], Deed]] = {
    kinds.LIFE: _life,
    kinds.ROLLOUT: _rollout,
    kinds.SNAPSHOT: _snapshot,
    kinds.KUBERNETES_VERSION: _kubernetes,
    kinds.APPLY: _config,
    kinds.MACHINE: _machine,
    kinds.RELEASE: _release,
    kinds.STORAGE: _storage,
}
