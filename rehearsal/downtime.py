"""For how long each service is away while an ``up`` changes a castle, by nominal durations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rehearsal.change import Change, Step
from rehearsal.effects import MOVE, RESTART
from settings import resource_types
from settings.models import Settings
from settings.node import Role

START = 10
"""Seconds for which a pod without a volume starts elsewhere."""
UNTOUCHED = "nothing touches it"
"""Why a service is not away."""


@dataclass(frozen=True, kw_only=True)
class Downtime:
    """What somebody who uses a service would notice."""

    service: str
    seconds: int
    """At most, all times together; 0 for none."""
    says: str
    """Why, or why not."""


def expected(change: Change) -> list[Downtime]:
    """The downtime of each service that a castle has."""
    ingress = _ingress(change)
    return [_api(change), ingress, _whoami(change, ingress), _volumes(change)]


def _api(change: Change) -> Downtime:
    """Kubernetes' API is away where its only control plane is."""
    planes = _names(change.old.settings, Role.CONTROL_PLANE)
    turns = [it for it in change.steps if it.effect.node in planes and it.effect.away_s]
    upgrades = [
        it for it in _updates(change) if it.resource.type == resource_types.KUBERNETES_VERSION
    ]
    service = "Kubernetes API"
    if not turns and not upgrades:
        return _downtime(service, 0, [])
    if len(planes) > 1:
        return _downtime(service, 0, ["others answer: a few seconds each time the VIP moves"])
    seconds = sum(it.effect.away_s for it in turns) + RESTART * len(upgrades)
    return _downtime(service, seconds, ["its only control plane is away"])


def _ingress(change: Change) -> Downtime:
    """Traefik is one pod with one volume: it moves with each drain of the node that it is on."""
    settings = change.old.settings
    on_host = settings.traefik.exposure == "host-network"
    homes = _names(settings, Role.CONTROL_PLANE) if on_host else _takes_pods(settings)
    reasons, seconds = _moves(change, homes, MOVE, "it moves with its volume")
    for step in _updates(change):
        if step.resource.name == "traefik-release":
            reasons.append("it begins anew")
            seconds += step.effect.seconds
        elif step.resource.name == "metallb-release" and not on_host:
            reasons.append("MetalLB's speakers, who announce its address, begin anew")
            seconds += START
    return _downtime("Traefik", seconds, reasons)


def _whoami(change: Change, ingress: Downtime) -> Downtime:
    """The demo site is one pod without a volume, behind Traefik."""
    homes = _takes_pods(change.old.settings)
    reasons, seconds = _moves(change, homes, START, "its pod moves")
    if ingress.seconds:
        reasons.insert(0, "it is reached through Traefik")
    return _downtime("whoami", seconds + ingress.seconds, reasons)


def _moves(change: Change, homes: set[str], each: int, words: str) -> tuple[list[str], int]:
    """Why one pod, which can be on ``homes``, moves while nodes are drained; for how long at most.

    Where it cannot be elsewhere it waits for its node.
    """
    drained = [it for it in change.steps if it.effect.drains and it.effect.node in homes]
    if not drained:
        return [], 0
    left = homes & {node.name for node in change.new.settings.machines}
    if len(left) == 1 and any(it.effect.away_s for it in drained):
        return [f"{next(iter(left))} is the only node that it can be on"], sum(
            it.effect.seconds for it in drained
        )
    times = "once" if len(drained) == 1 else f"{len(drained)} times"
    return [f"{words}, {times} at most"], each * len(drained)


def _takes_pods(settings: Settings) -> set[str]:
    """The nodes that take ordinary pods: the workers, or where there are none all."""
    return _names(settings, Role.WORKER) or {node.name for node in settings.machines}


def _names(settings: Settings, role: Role) -> set[str]:
    return {node.name for node in settings.machines if node.role is role}


def _downtime(service: str, seconds: int, reasons: list[str]) -> Downtime:
    return Downtime(service=service, seconds=seconds, says="; ".join(reasons) or UNTOUCHED)


def _volumes(change: Change) -> Downtime:
    """Longhorn's volumes with more than one copy stay usable, for no last copy goes down."""
    settings, service = change.old.settings, "Longhorn volumes"
    carriers = {node.name for node in settings.machines if node.data_disk_gib is not None}
    touched = [it for it in change.steps if it.effect.node in carriers and it.effect.away_s]
    if touched and settings.replicas == 1:
        longest = max(it.effect.away_s for it in touched)
        return _downtime(service, longest, ["each has one copy, which is on one node"])
    reasons = []
    if touched:
        reasons.append("no node goes down with a volume's last healthy copy")
    if any(step.resource.name == "longhorn-release" for step in _updates(change)):
        reasons.append("Longhorn's managers begin anew, and volumes stay attached meanwhile")
    return _downtime(service, 0, reasons)


def _updates(change: Change) -> Iterator[Step]:
    return (step for step in change.steps if step.what in ("update", "replace"))
