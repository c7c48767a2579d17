"""The base classes of all dynamic resources and their providers, and the permanent address of a
provider in the Pulumi state.

A resource takes a name, its ``Args`` and options. Its provider declares a dataclass for its inputs,
which inputs it compares, and what it does on create, update and delete.

The Pulumi state contains each dynamic provider as a pickle, which names a module and an object. If
that object moved, Pulumi could no longer update or delete the resource. So every provider is
pickled as a call of ``load`` with a short name from ``PROVIDERS``. This module's name, ``load`` and
the short names must never change; the provider classes may move.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_args, get_type_hints

import pulumi
from pulumi import dynamic

from clients.tls import ClientCredentials
from lifecycle.operations import report

PROVIDERS: dict[str, str] = {
    "Bootstrap": "lifecycle.bootstrap:BootstrapProvider",
    "ClusterReadiness": "lifecycle.readiness:ClusterReadinessProvider",
    "DeploymentRecord": "lifecycle.deployment_record:DeploymentRecordProvider",
    "EtcdSnapshot": "lifecycle.cluster_versions:EtcdSnapshotProvider",
    "FluxReady": "lifecycle.flux:FluxReadyProvider",
    "FluxUninstall": "lifecycle.flux:FluxUninstallProvider",
    "KubernetesVersion": "lifecycle.cluster_versions:KubernetesVersionProvider",
    "LonghornStorage": "lifecycle.longhorn_storage:LonghornStorageProvider",
    "NodeLifecycle": "lifecycle.node:NodeLifecycleProvider",
    "RetainedDisk": "lifecycle.retained_disk:RetainedDiskProvider",
}
"""Module and class of each provider by its frozen short name; imported when needed."""

MODULE = "ephemeral-castle"
"""The module in the type tokens of the dynamic resources; frozen, too."""

DYNAMIC = f"pulumi-python:dynamic/{MODULE}:"
"""Start of the type token of each dynamic resource; the short name of the provider follows."""

T = TypeVar("T")


class Args(Protocol):
    """The arguments of a dynamic resource."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource by name. Secrets are secret outputs. Outputs that are no
        input are ``None``."""


ArgsT = TypeVar("ArgsT", bound=Args)
InputsT = TypeVar("InputsT")


class Resource(dynamic.Resource, Generic[ArgsT]):
    """Base class of a dynamic resource. The name of the class is the short name of its provider
    and part of its type token, so it must never change."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__(module=MODULE, name=cls.__name__)

    def __init__(self, name: str, args: ArgsT, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(load(type(self).__name__), name, args.inputs(), opts)


def load(name: str) -> Provider[Any]:
    """Create the provider with this short name. The pickles in the Pulumi state call this."""
    module, _, class_name = PROVIDERS[name].partition(":")
    provider: Provider[Any] = getattr(importlib.import_module(module), class_name)()
    return provider


def provider_of(type_: str) -> Provider[Any]:
    """Create the provider of a dynamic resource of this type."""
    return load(type_.removeprefix(DYNAMIC))


class Provider(dynamic.ResourceProvider, Generic[InputsT]):
    """Base class: a subclass declares its inputs and which of them it compares, and overrides
    ``on_create``, ``on_update`` and ``on_delete``, which do nothing by default.

    Pulumi passes every number as a float. This class converts whole numbers back to integers.
    """

    serialize_as_secret_always = False
    """``False``, because the pickle contains only the short name."""

    name: ClassVar[str]
    """Short name in ``PROVIDERS``."""
    inputs: type[InputsT]
    """The dataclass of the inputs. Inputs that are not ``stored`` are missing in the old ones."""
    id_input: ClassVar[str] = ""
    """The input whose value becomes the id of the resource."""
    compared: ClassVar[Sequence[str] | None] = None
    """The inputs whose change is an update of the resource; ``None`` means all inputs."""
    ignored: ClassVar[Sequence[str]] = ()
    """Inputs whose change is no update. ``group.key`` names one key of a mapping."""
    stored: ClassVar[Sequence[str] | None] = None
    """The inputs that are stored as outputs, and so are the old values in ``diff``, ``update`` and
    ``delete``; ``None`` means all inputs."""

    def __reduce__(self) -> tuple[Callable[[str], Provider[Any]], tuple[str]]:
        """Pickle as a call of ``load``."""
        return load, (self.name,)

    # What a subclass overrides ----------------------------------------------------------------

    def id_of(self, inputs: InputsT) -> str:
        """The id of the resource."""
        return str(getattr(inputs, self.id_input))

    def on_create(self, inputs: InputsT) -> Mapping[str, Any] | None:
        """Create the resource. Returns outputs in addition to the ``stored`` inputs."""

    def on_update(
        self, olds: InputsT, news: InputsT, changed: Sequence[str]
    ) -> Mapping[str, Any] | None:
        """Apply the change. Returns outputs that replace or extend the ``stored`` inputs."""

    def on_delete(self, inputs: InputsT) -> None:
        """Delete the resource."""

    def refuse(self, olds: InputsT, news: InputsT) -> None:
        """Raise an error if the change is impossible. Called in previews, too."""

    def require(self, news: InputsT, changed: Sequence[str]) -> None:
        """Raise an error if something that ``on_update`` needs is missing on this computer."""

    def describe(self, olds: InputsT, news: InputsT) -> str:
        """A message about the effect of the change, which ``diff`` prints; empty for none."""
        return ""

    def further_changes(self, olds: InputsT, news: InputsT) -> Sequence[str]:
        """The names of ``ignored`` inputs whose change is an update nevertheless."""
        return ()

    # What Pulumi calls ------------------------------------------------------------------------

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Create the resource."""
        inputs = self.parse(props)
        more = self.on_create(inputs)
        return dynamic.CreateResult(self.id_of(inputs), {**self._outputs(props), **(more or {})})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Compare the inputs. The resource is updated or unchanged, but never replaced."""
        return self.compare(olds, news, needs_tools=True)

    def compare(
        self, olds: dict[str, Any], news: dict[str, Any], *, needs_tools: bool
    ) -> dynamic.DiffResult:
        """The same as ``diff``; without ``needs_tools``, ``require`` is not called."""
        old, new = self.parse(olds), self.parse(news)
        self.refuse(old, new)
        changed = self._changed(olds, news)
        if changed:
            if needs_tools:
                self.require(new, changed)
            if text := self.describe(old, new):
                report(text)
        return dynamic.DiffResult(changes=bool(changed), replaces=[])

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Apply the change."""
        changed = self._changed(olds, news)
        more = self.on_update(self.parse(olds), self.parse(news), changed)
        return dynamic.UpdateResult({**self._outputs(news), **(more or {})})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Delete the resource."""
        self.on_delete(self.parse(props))

    def parse(self, props: Mapping[str, Any]) -> InputsT:
        """The typed inputs. In a preview, a value may be Pulumi's ``Unknown``."""
        return parse(self.inputs, plain(props))

    def _outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: value
            for key, value in plain(props).items()
            if self.stored is None or key in self.stored
        }

    def _changed(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
        """The names of the compared inputs that differ; mappings are compared key by key."""
        left, right = (self._comparable(plain(props)) for props in (olds, news))
        # Pulumi drops inputs that are null, so a missing input equals one that is None.
        found = [key for key in {**left, **right} if left.get(key) != right.get(key)]
        return [*found, *self.further_changes(self.parse(olds), self.parse(news))]

    def _comparable(self, props: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in props.items():
            if self.compared is not None and key not in self.compared:
                continue
            entries = (
                {f"{key}.{name}": entry for name, entry in value.items()}
                if isinstance(value, dict)
                else {key: value}
            )
            found |= {name: it for name, it in entries.items() if not self._ignores(key, name)}
        return found

    def _ignores(self, *names: str) -> bool:
        return any(name in self.ignored for name in names)


def secret_credentials(
    credentials: pulumi.Output[ClientCredentials],
) -> dict[str, pulumi.Output[str]]:
    """The fields of ``ClientCredentials`` as secret inputs of a resource."""
    return {
        it.name: pulumi.Output.secret(getattr(credentials, it.name))
        for it in fields(ClientCredentials)
    }


def plain(props: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs without Pulumi's ``__provider``, and with whole numbers as integers."""
    return {key: _plain(value) for key, value in props.items() if key != "__provider"}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def parse(kind: type[T], props: Mapping[str, Any]) -> T:
    """Create a dataclass from the inputs with the names of its fields; other inputs are ignored.

    A mapping becomes a dataclass if the type of its field is one: ``D``, ``D | None`` or
    ``Mapping[str, D]``. A missing input is the default of its field, or ``None``: Pulumi drops
    nulls, and old inputs are only those that the provider stores.
    """
    hints = _hints_of(kind)  # type: ignore[arg-type]
    values = {
        field.name: _typed(hints[field.name], props.get(field.name))
        for field in fields(kind)  # type: ignore[arg-type]
        if field.name in props or field.default is MISSING
    }
    return kind(**values)


@functools.cache
def _hints_of(kind: type) -> dict[str, Any]:
    """The types of the fields. Cached: a stack has many nodes, and Python parses each type."""
    return get_type_hints(kind)


def _typed(hint: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if is_dataclass(hint):
        return parse(hint, value)  # type: ignore[arg-type]
    inner = next((it for it in get_args(hint) if is_dataclass(it)), None)
    if inner is None:
        return value
    if type(None) in get_args(hint):
        return parse(inner, value)  # type: ignore[arg-type]
    return {key: parse(inner, entry) for key, entry in value.items()}  # type: ignore[arg-type]
