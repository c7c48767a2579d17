"""For how long each service is away while an ``up`` changes a castle, by nominal durations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rehearsal import rules
from rehearsal.change import Change, Step
from rehearsal.deeds import MOVE, RESTART
from settings import Role, Settings


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
    planes = {node.name for node in change.old.settings.control_planes}
    turns = [it for it in change.steps if it.deed.node in planes and it.deed.away_s]
    upgrades = [it for it in _updates(change) if it.resource.type == rules.KUBERNETES_VERSION]
    service = "Kubernetes API"
    if not turns and not upgrades:
        return Downtime(service=service, seconds=0, says="nothing touches it")
    if len(planes) > 1:
        says = "another control plane answers: a few seconds each time the VIP moves"
        return Downtime(service=service, seconds=0, says=says)
    seconds = sum(it.deed.away_s for it in turns) + RESTART * len(upgrades)
    return Downtime(service=service, seconds=seconds, says="its only control plane is away")


def _ingress(change: Change) -> Downtime:
    """Traefik is one pod with one volume: it moves with each drain of the node that it is on."""
    service = "Traefik"
    own = [it for it in _updates(change) if it.resource.name == "traefik-release"]
    moves, seconds = _moves(change)
    seconds += sum(it.deed.seconds for it in own)
    reasons = [f"begins anew ({it.resource.name})" for it in own] + moves
    if not reasons:
        return Downtime(service=service, seconds=0, says="nothing touches it")
    return Downtime(service=service, seconds=seconds, says="; ".join(reasons))


def _moves(change: Change) -> tuple[list[str], int]:
    """Why Traefik's pod moves while nodes are drained, and for how long it is away at most."""
    homes = _homes(change.old.settings)
    drained = [it for it in change.steps if it.deed.drains and it.deed.node in homes]
    if not drained:
        return [], 0
    stays = homes & _homes(change.new.settings)
    if len(stays) == 1 and any(it.deed.away_s for it in drained):
        seconds = sum(it.deed.seconds for it in drained)
        return [f"{next(iter(stays))} is the only node that it can be on"], seconds
    count = len(drained)
    word = "once" if count == 1 else f"{count} times"
    return [f"moves with its volume, {word} at most"], MOVE * count


def _homes(settings: Settings) -> set[str]:
    """The nodes that Traefik's pod can be on."""
    if settings.traefik.exposure == "host-network":
        return {node.name for node in settings.control_planes}
    workers = {node.name for node in settings.machines if node.role is Role.WORKER}
    return workers or {node.name for node in settings.machines}


def _whoami(change: Change, ingress: Downtime) -> Downtime:
    """The demo site is one pod without a volume, behind Traefik."""
    if ingress.seconds:
        says = "is reached through Traefik"
        return Downtime(service="whoami", seconds=ingress.seconds, says=says)
    return Downtime(service="whoami", seconds=0, says="nothing touches it")


def _volumes(change: Change) -> Downtime:
    """Longhorn's volumes with more than one copy stay usable, for no last copy goes down."""
    service = "Longhorn volumes"
    drained = [it for it in change.steps if it.deed.drains]
    carriers = {it.name for it in change.old.settings.machines if it.data_disk_gib is not None}
    touched = [it for it in drained if it.deed.node in carriers and it.deed.away_s]
    if not touched:
        return Downtime(service=service, seconds=0, says="nothing touches them")
    if change.old.settings.replicas > 1:
        says = "no node goes down with a volume's last healthy copy; copies are rebuilt in between"
        return Downtime(service=service, seconds=0, says=says)
    longest = max(it.deed.away_s for it in touched)
    return Downtime(
        service=service, seconds=longest, says="each has one copy, which is on one node"
    )


def _updates(change: Change) -> Iterator[Step]:
    return (step for step in change.steps if step.what in ("update", "replace"))
