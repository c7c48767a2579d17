"""The base class of all dynamic providers, and their permanent address in the Pulumi state.

The Pulumi state contains each dynamic provider as a pickle, which names a module and an object. If
that object moved, Pulumi could no longer update or delete the resource. So every provider is
pickled as a call of ``load`` with a short name from ``PROVIDERS``. This module's name, ``load`` and
the short names must never change; the classes may move.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pulumi import dynamic

from lifecycle.operations.diagnostics import report

PROVIDERS: dict[str, str] = {
    "Bootstrap": "lifecycle.bootstrap:BootstrapProvider",
    "ClusterReadiness": "lifecycle.readiness:ClusterReadinessProvider",
    "DeploymentRecord": "lifecycle.deployment_record:DeploymentRecordProvider",
    "EtcdSnapshot": "lifecycle.etcd_snapshot:EtcdSnapshotProvider",
    "FluxReady": "lifecycle.flux_ready:FluxReadyProvider",
    "FluxUninstall": "lifecycle.flux_uninstall:FluxUninstallProvider",
    "KubernetesVersion": "lifecycle.kubernetes_version:KubernetesVersionProvider",
    "LonghornStorage": "lifecycle.longhorn_storage:LonghornStorageProvider",
    "NodeLifecycle": "lifecycle.node:NodeLifecycleProvider",
    "RetainedDisk": "lifecycle.retained_disk:RetainedDiskProvider",
}
"""Module and class of each provider by its frozen short name; imported when needed."""

MODULE = "ephemeral-castle"
"""The module in the type tokens of the dynamic resources; frozen, too."""


def load(name: str) -> Provider:
    """Create the provider with this short name. The pickles in the Pulumi state call this."""
    module, _, class_name = PROVIDERS[name].partition(":")
    provider: Provider = getattr(importlib.import_module(module), class_name)()
    return provider


class Provider(dynamic.ResourceProvider):
    """Base class: a subclass declares the inputs that it compares, and overrides ``on_create``,
    ``on_update`` and ``on_delete``, which do nothing by default.

    Pulumi passes every number as a float. This class converts whole numbers back to integers.
    """

    serialize_as_secret_always = False
    """``False``, because the pickle contains only the short name."""

    name: ClassVar[str]
    """Short name in ``PROVIDERS``."""
    id_input: ClassVar[str] = ""
    """The input whose value becomes the id of the resource."""
    compared: ClassVar[Sequence[str] | None] = None
    """The inputs whose change is an update of the resource; ``None`` means all inputs."""
    ignored: ClassVar[Sequence[str]] = ()
    """Inputs whose change is no update. ``group.key`` names one key of a mapping."""
    stored: ClassVar[Sequence[str] | None] = None
    """The inputs that are stored as outputs, and so are the old values in ``diff``, ``update`` and
    ``delete``; ``None`` means all inputs."""

    def __reduce__(self) -> tuple[Callable[[str], Provider], tuple[str]]:
        """Pickle as a call of ``load``."""
        return load, (self.name,)

    # What a subclass overrides ----------------------------------------------------------------

    def id_of(self, props: Mapping[str, Any]) -> str:
        """The id of the resource."""
        return str(props[self.id_input])

    def on_create(self, props: dict[str, Any]) -> Mapping[str, Any] | None:
        """Create the resource. Returns outputs in addition to the ``stored`` inputs."""

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> Mapping[str, Any] | None:
        """Apply the change. Returns outputs that replace or extend the ``stored`` inputs."""

    def on_delete(self, props: dict[str, Any]) -> None:
        """Delete the resource."""

    def refuse(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Raise an error if the change is impossible. Called in previews, too."""

    def require(self, news: dict[str, Any], changed: Sequence[str]) -> None:
        """Raise an error if something that ``on_update`` needs is missing on this computer."""

    def describe(self, olds: dict[str, Any], news: dict[str, Any]) -> str:
        """A message about the effect of the change, which ``diff`` prints; empty for none."""
        return ""

    def changed(self, olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
        """The names of the compared inputs that differ; mappings are compared key by key."""
        left, right = (self._comparable(props) for props in (olds, news))
        # Pulumi drops inputs that are null, so a missing input equals one that is None.
        return [key for key in {**left, **right} if left.get(key) != right.get(key)]

    # What Pulumi calls ------------------------------------------------------------------------

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Create the resource."""
        props = plain(props)
        more = self.on_create(props)
        return dynamic.CreateResult(self.id_of(props), {**self._outputs(props), **(more or {})})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Compare the inputs. The resource is updated or unchanged, but never replaced."""
        return self.compare(olds, news, needs_tools=True)

    def compare(
        self, olds: dict[str, Any], news: dict[str, Any], *, needs_tools: bool
    ) -> dynamic.DiffResult:
        """The same as ``diff``; without ``needs_tools``, ``require`` is not called."""
        olds, news = plain(olds), plain(news)
        self.refuse(olds, news)
        changed = self.changed(olds, news)
        if changed:
            if needs_tools:
                self.require(news, changed)
            if text := self.describe(olds, news):
                report(text)
        return dynamic.DiffResult(changes=bool(changed), replaces=[])

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Apply the change."""
        olds, news = plain(olds), plain(news)
        more = self.on_update(olds, news)
        return dynamic.UpdateResult({**self._outputs(news), **(more or {})})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Delete the resource."""
        self.on_delete(plain(props))

    def _outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: value for key, value in props.items() if self.stored is None or key in self.stored
        }

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
