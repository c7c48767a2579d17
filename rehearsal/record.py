"""What the program requests from the Pulumi engine: resources, invokes and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rehearsal.values import Secret, reveal
from settings import resource_types


@dataclass(frozen=True)
class Refusal:
    """A reason why an ``up`` or a preview would fail."""

    resource: str
    """Name of the resource, or of the project."""
    message: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.message}"


@dataclass(kw_only=True)
class Resource:
    """One resource registration, as the engine receives it."""

    urn: str
    type: str
    name: str
    custom: bool = True
    """False for components."""
    parent: str | None = None
    """URN of the parent."""
    provider: str | None = None
    """URN of the provider."""
    dependencies: tuple[str, ...] = ()
    """URNs of the resources that must exist first."""
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By input: the URNs of the resources that the value comes from."""
    deleted_with: str | None = None
    """URN of the resource whose deletion also deletes this one; inherited from the parent."""
    replace_with: tuple[str, ...] = ()
    """URNs of the resources whose replacement also replaces this one."""
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    delete_before_replace: bool = False
    retain_on_delete: bool = False
    """Whether Pulumi forgets the resource instead of deleting it."""
    hooks: tuple[str, ...] = ()
    """Event and name of each resource hook, such as ``before_create NAME``."""
    custom_timeouts: Mapping[str, str] = field(default_factory=dict)
    """By operation (``create``, ``update``, ``delete``): the timeout, as in ``5m``."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The inputs; secrets are ``Secret`` objects."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """The mock provider's outputs, or a component's registered outputs; secrets are ``Secret``."""
    id: str = ""
    start: float = 0.0
    """Estimated start in seconds from the start of an ``up``."""
    end: float = 0.0
    """Estimated end in seconds from the start of an ``up``."""

    def plain(self, name: str, default: Any = None) -> Any:
        """Return an input with its secrets in plain text. Do not print it."""
        return reveal(self.inputs.get(name, default))

    def is_secret(self, name: str) -> bool:
        """Return whether the whole input is a secret."""
        return isinstance(self.inputs.get(name), Secret)

    @property
    def is_managed(self) -> bool:
        """Whether a provider manages it: false for components and for providers themselves."""
        return self.custom and not self.type.startswith(resource_types.ANY_PROVIDER)

    @property
    def in_kubernetes(self) -> bool:
        """Whether this is a Kubernetes object or a Helm release."""
        return self.type.startswith("kubernetes:")


@dataclass(frozen=True, kw_only=True)
class Invoke:
    """One call of a provider function."""

    token: str
    args: Mapping[str, Any]


@dataclass(kw_only=True)
class Recording:
    """All requests of one run of the program."""

    resources: list[Resource] = field(default_factory=list)
    """In the order of registration, without the stack resource."""
    invokes: list[Invoke] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    """The stack's outputs; secrets are ``Secret`` objects."""

    def of_type(self, *types: str) -> Iterator[Resource]:
        """Yield the resources of these types."""
        return (resource for resource in self.resources if resource.type in types)

    def by_urn(self) -> dict[str, Resource]:
        """Return the resources by URN."""
        return {resource.urn: resource for resource in self.resources}

    def state(self) -> dict[str, Any]:
        """Return the Pulumi state after an ``up``: by URN the type and outputs of each resource.

        Secrets are in plain text.
        """
        return {
            it.urn: {"type": it.type, "outputs": reveal({**it.inputs, **it.outputs})}
            for it in self.resources
        }

    def before(self, resource: Resource) -> set[str]:
        """Return the URNs of all direct and indirect dependencies of ``resource``."""
        known, found, todo = self.by_urn(), set[str](), [resource]
        while todo:
            for urn in needs(todo.pop()):
                if urn not in found and urn in known:
                    found.add(urn)
                    todo.append(known[urn])
        return found


def needs(resource: Resource) -> set[str]:
    """Return the URNs of the direct dependencies of a resource, including its provider."""
    found = set(resource.dependencies)
    for sources in resource.property_dependencies.values():
        found.update(sources)
    if resource.provider:
        found.add(resource.provider)
    return found
