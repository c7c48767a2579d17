"""The resource graph of the page: components in layers, and their resources grouped by type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rehearsal.record import Recording, Resource, needs
from report import model
from settings import resource_types

NO_COMPONENT = "stack"
"""Component name for resources that belong to no component."""
PROVIDER = "pulumi:providers:"


def build_components(recording: Recording, critical: Iterable[str]) -> tuple[model.Component, ...]:
    """Build the components of a rehearsed stack; ``critical`` has the URNs of the critical path."""
    by_urn = recording.by_urn()
    path = set(critical)
    members: dict[str, list[Resource]] = {}
    for resource in _shown_resources(recording):
        members.setdefault(component_of(resource, by_urn), []).append(resource)
    dependencies: dict[str, set[str]] = {name: set() for name in members}
    for name, resources in members.items():
        for resource in resources:
            dependencies[name] |= {
                component_of(by_urn[urn], by_urn) for urn in _dependencies_of(resource, by_urn)
            }
    # Two components may depend on each other. With this order, only the component that ends later
    # depends on the other.
    order = sorted(members, key=lambda name: max(resource.end for resource in members[name]))
    dependencies, layers = _assign_layers(order, dependencies)
    return tuple(
        model.Component(
            name=name,
            providers=_provider_names(members[name], by_urn),
            layer=layers[name],
            needs=_direct_dependencies(name, dependencies),
            resources=_group_by_type(members[name], by_urn, path),
        )
        for name in sorted(order, key=lambda name: layers[name])
    )


def component_of(resource: Resource, by_urn: Mapping[str, Resource]) -> str:
    """The name of the outermost component that a resource belongs to."""
    name = NO_COMPONENT
    while resource.parent and resource.parent in by_urn:
        resource = by_urn[resource.parent]
        name = resource.name
    return name


def _shown_resources(recording: Recording) -> list[Resource]:
    """All resources except components, providers and the record of the deployment."""
    return [
        r
        for r in recording.resources
        if r.custom and r.type != resource_types.RECORD and not r.type.startswith(PROVIDER)
    ]


def _dependencies_of(resource: Resource, by_urn: Mapping[str, Resource]) -> set[str]:
    """The URNs that a resource depends on. Replaces a provider by the provider's dependencies."""
    urns = set()
    for urn in needs(resource):
        if urn not in by_urn:
            continue
        if by_urn[urn].type.startswith(PROVIDER):
            urns |= _dependencies_of(by_urn[urn], by_urn)
        elif by_urn[urn].custom:
            urns.add(urn)
    return urns


def _provider_names(resources: list[Resource], by_urn: Mapping[str, Resource]) -> tuple[str, ...]:
    names = (by_urn[r.provider].name for r in resources if r.provider and r.provider in by_urn)
    return tuple(dict.fromkeys(names))


def _group_by_type(
    resources: list[Resource], by_urn: Mapping[str, Resource], path: set[str]
) -> tuple[model.Resources, ...]:
    types: dict[str, list[Resource]] = {}
    for resource in resources:
        types.setdefault(resource.type, []).append(resource)
    type_of = {resource.urn: resource.type for resource in resources}
    dependencies = {
        type_: {
            type_of[urn]
            for resource in group
            for urn in _dependencies_of(resource, by_urn)
            if urn in type_of
        }
        for type_, group in types.items()
    }
    order = sorted(types, key=lambda type_: min(resource.start for resource in types[type_]))
    dependencies, layers = _assign_layers(order, dependencies)
    return tuple(
        model.Resources(
            type=type_,
            names=tuple(resource.name for resource in types[type_]),
            layer=layers[type_],
            needs=_direct_dependencies(type_, dependencies),
            critical=any(resource.urn in path for resource in types[type_]),
        )
        for type_ in sorted(order, key=lambda type_: layers[type_])
    )


def _assign_layers(
    order: list[str], dependencies: Mapping[str, set[str]]
) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Assign each name a layer: the length of its longest chain of dependencies.

    Returns the dependencies without those that come later in ``order``, and the layers.
    """
    remaining: dict[str, set[str]] = {}
    layers: dict[str, int] = {}
    for name in order:
        remaining[name] = {other for other in dependencies[name] if other in layers}
        layers[name] = max((layers[other] + 1 for other in remaining[name]), default=0)
    return remaining, layers


def _direct_dependencies(name: str, dependencies: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The dependencies of ``name`` that do not follow from its other dependencies."""

    def all_dependencies(of: str) -> set[str]:
        return dependencies[of].union(*map(all_dependencies, dependencies[of]))

    implied: set[str] = set().union(*map(all_dependencies, dependencies[name]))
    return tuple(sorted(dependencies[name] - implied))
