"""What the program asked of the engine: resources, invokes and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rehearsal.values import Secret, reveal


@dataclass(kw_only=True)
class Resource:
    """One registration, as the engine received it."""

    urn: str
    type: str
    name: str
    custom: bool = True
    parent: str | None = None
    provider: str | None = None
    """URN of the provider that manages it."""
    dependencies: tuple[str, ...] = ()
    """URNs that must be there before."""
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By input: the URNs that its value comes from."""
    deleted_with: str | None = None
    """URN whose deletion takes this along, its parents' wish included."""
    replace_with: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    delete_before_replace: bool = False
    custom_timeouts: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """As sent, with secrets wrapped."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """As answered, or as a component registered them, with secrets wrapped."""
    id: str = ""
    start: float = 0.0
    """Nominal seconds from the beginning of an ``up``."""
    end: float = 0.0

    def plain(self, name: str, default: Any = None) -> Any:
        """An input with its secrets open, for rules alone."""
        return reveal(self.inputs.get(name, default))

    def is_secret(self, name: str) -> bool:
        """Whether an input is a secret as a whole."""
        return isinstance(self.inputs.get(name), Secret)

    @property
    def in_kubernetes(self) -> bool:
        """Whether it lives in the cluster."""
        return self.type.startswith("kubernetes:")


@dataclass(frozen=True, kw_only=True)
class Invoke:
    """One call of a provider's function."""

    token: str
    args: Mapping[str, Any]


@dataclass(kw_only=True)
class Recording:
    """All that one run of the program asked for."""

    resources: list[Resource] = field(default_factory=list)
    """In the order of registration, the stack itself left out."""
    invokes: list[Invoke] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    """The stack's outputs, with secrets wrapped."""

    def of_type(self, *types: str) -> Iterator[Resource]:
        """The resources of these types."""
        return (resource for resource in self.resources if resource.type in types)

    def by_urn(self) -> dict[str, Resource]:
        """The resources by URN."""
        return {resource.urn: resource for resource in self.resources}

    def state(self) -> dict[str, Any]:
        """What the engine would answer about this stack once it is deployed: by URN the type and
        the outputs of each resource, with secrets in plain text."""
        return {
            it.urn: {"type": it.type, "outputs": reveal({**it.inputs, **it.outputs})}
            for it in self.resources
        }

    def before(self, resource: Resource) -> set[str]:
        """URNs of all that must be there before ``resource``, however far back."""
        known, found, todo = self.by_urn(), set[str](), [resource]
        while todo:
            for urn in needs(todo.pop()):
                if urn not in found and urn in known:
                    found.add(urn)
                    todo.append(known[urn])
        return found


def needs(resource: Resource) -> set[str]:
    """URNs that a resource waits for: what it depends on, and its provider."""
    waits = set(resource.dependencies)
    for sources in resource.property_dependencies.values():
        waits.update(sources)
    if resource.provider:
        waits.add(resource.provider)
    return waits
