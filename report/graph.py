"""The resource graph as it is shown: components in layers, and in each its resources by type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rehearsal.record import Recording, Resource, needs
from report import model
from settings import resource_types

OUTSIDE = "stack"
"""Stands for the component of what belongs to none."""
PROVIDER = "pulumi:providers:"


def of(recording: Recording, critical: Iterable[str]) -> tuple[model.Component, ...]:
    """The components of a castle; ``critical`` are the URNs on the critical path."""
    known = recording.by_urn()
    path = set(critical)
    members: dict[str, list[Resource]] = {}
    for resource in _shown(recording):
        members.setdefault(component_of(resource, known), []).append(resource)
    above: dict[str, set[str]] = {name: set() for name in members}
    for name, resources in members.items():
        for resource in resources:
            above[name] |= {component_of(known[urn], known) for urn in _before(resource, known)}
    # What ends later waits for what ends earlier: with this order there is no circle.
    order = sorted(members, key=lambda name: max(resource.end for resource in members[name]))
    above, layers = _layers(order, above)
    return tuple(
        model.Component(
            name=name,
            providers=_providers(members[name], known),
            layer=layers[name],
            needs=_without_detours(name, above),
            resources=_by_type(members[name], known, path),
        )
        for name in sorted(order, key=lambda name: layers[name])
    )


def component_of(resource: Resource, known: Mapping[str, Resource]) -> str:
    """Name of the outermost component that a resource belongs to."""
    found = OUTSIDE
    while resource.parent and resource.parent in known:
        resource = known[resource.parent]
        found = resource.name
    return found


def _shown(recording: Recording) -> list[Resource]:
    """What is deployed; the record of it is not."""
    return [
        r
        for r in recording.resources
        if r.custom and r.type != resource_types.RECORD and not r.type.startswith(PROVIDER)
    ]


def _before(resource: Resource, known: Mapping[str, Resource]) -> set[str]:
    """What a resource waits for; a provider stands for what it waits for itself."""
    found = set()
    for urn in needs(resource):
        if urn not in known:
            continue
        if known[urn].type.startswith(PROVIDER):
            found |= _before(known[urn], known)
        elif known[urn].custom:
            found.add(urn)
    return found


def _providers(resources: list[Resource], known: Mapping[str, Resource]) -> tuple[str, ...]:
    names = (known[r.provider].name for r in resources if r.provider and r.provider in known)
    return tuple(dict.fromkeys(names))


def _by_type(
    resources: list[Resource], known: Mapping[str, Resource], path: set[str]
) -> tuple[model.Resources, ...]:
    types: dict[str, list[Resource]] = {}
    for resource in resources:
        types.setdefault(resource.type, []).append(resource)
    own = {resource.urn: resource.type for resource in resources}
    above = {
        type_: {own[urn] for one in group for urn in _before(one, known) if urn in own}
        for type_, group in types.items()
    }
    order = sorted(types, key=lambda type_: min(resource.start for resource in types[type_]))
    above, layers = _layers(order, above)
    return tuple(
        model.Resources(
            type=type_,
            names=tuple(resource.name for resource in types[type_]),
            layer=layers[type_],
            needs=_without_detours(type_, above),
            critical=any(resource.urn in path for resource in types[type_]),
        )
        for type_ in sorted(order, key=lambda type_: layers[type_])
    )


def _layers(
    order: list[str], above: Mapping[str, set[str]]
) -> tuple[dict[str, set[str]], dict[str, int]]:
    """What lies before each by ``order``, and how many steps at most."""
    kept: dict[str, set[str]] = {}
    layers: dict[str, int] = {}
    for name in order:
        kept[name] = {other for other in above[name] if other in layers}
        layers[name] = max((layers[other] + 1 for other in kept[name]), default=0)
    return kept, layers


def _without_detours(name: str, above: Mapping[str, set[str]]) -> tuple[str, ...]:
    """What ``name`` needs directly: not what already follows from another of its needs."""

    def all_above(one: str) -> set[str]:
        return above[one].union(*map(all_above, above[one]))

    implied: set[str] = set().union(*map(all_above, above[name]))
    return tuple(sorted(above[name] - implied))
