"""The address of the dynamic providers in the Pulumi state, and their base class."""

from __future__ import annotations

import base64
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import dill  # type: ignore[import-untyped]
import pytest
from pulumi import dynamic
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.output import Unknown

from lifecycle import provider
from lifecycle.provider import PROVIDERS, Provider, Resource, parse, plain
from settings.project import PROJECT_FOLDER
from tests.loaded_modules import loaded_modules

FROZEN = {
    "Bootstrap": "pulumi-python:dynamic/ephemeral-castle:Bootstrap",
    "ClusterReadiness": "pulumi-python:dynamic/ephemeral-castle:ClusterReadiness",
    "DeploymentRecord": "pulumi-python:dynamic/ephemeral-castle:DeploymentRecord",
    "EtcdSnapshot": "pulumi-python:dynamic/ephemeral-castle:EtcdSnapshot",
    "FluxReady": "pulumi-python:dynamic/ephemeral-castle:FluxReady",
    "FluxUninstall": "pulumi-python:dynamic/ephemeral-castle:FluxUninstall",
    "KubernetesVersion": "pulumi-python:dynamic/ephemeral-castle:KubernetesVersion",
    "LonghornStorage": "pulumi-python:dynamic/ephemeral-castle:LonghornStorage",
    "NodeLifecycle": "pulumi-python:dynamic/ephemeral-castle:NodeLifecycle",
    "RetainedDisk": "pulumi-python:dynamic/ephemeral-castle:RetainedDisk",
}
"""The type token by short name. Every stack's state contains both, so no entry may change or be
removed."""
PICKLE = (
    b"\x80\x04\x95/\x00\x00\x00\x00\x00\x00\x00\x8c\x12lifecycle.provider\x94\x8c\x04load\x94"
    b"\x93\x94\x8c\tBootstrap\x94\x85\x94R\x94."
)
"""The provider of ``Bootstrap`` as it is in the state of every stack."""


def classes(base: type[Any]) -> set[type[Any]]:
    """All classes of this program that derive from a class of the SDK, or from ``Provider``."""
    for folder in ("components", "lifecycle"):
        for file in (PROJECT_FOLDER / folder).rglob("*.py"):
            importlib.import_module(
                ".".join(file.relative_to(PROJECT_FOLDER).with_suffix("").parts)
            )
    found: set[type[Any]] = set()
    queue: list[type[Any]] = [base]
    while queue:
        for one in queue.pop().__subclasses__():
            queue.append(one)
            if not one.__module__.startswith(("pulumi.", "tests.")):
                found.add(one)
    return found


def test_a_provider_loads_without_the_settings_models_and_the_sdks() -> None:
    """Pulumi waits until a provider is loaded, and the models alone take 0.25 s."""
    loaded = loaded_modules(
        "from lifecycle.provider import PROVIDERS, load; [load(name) for name in PROVIDERS]"
    )
    slow = {
        "cryptography",
        "pulumi_kubernetes",
        "pulumi_proxmoxve",
        "pulumiverse_talos",
        "pydantic",
    }
    assert slow & loaded == set()


def test_addresses_and_type_tokens_never_change() -> None:
    assert provider.load.__module__ == "lifecycle.provider"
    assert provider.load.__qualname__ == "load"
    assert PROVIDERS.keys() == FROZEN.keys()
    tokens = {f"pulumi-python:{it._resource_type_name}" for it in classes(Resource)}
    assert classes(dynamic.Resource) == classes(Resource) | {Resource}
    assert tokens == set(FROZEN.values())


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_pickled_provider_contains_only_its_address(name: str) -> None:
    one = provider.load(name)
    assert one.name == name
    pickled = base64.b64decode(serialize_provider(one))
    # Byte 3 is the length of the pickle; the name follows its own length.
    length = len(PICKLE) - len("Bootstrap") + len(name)
    expected = PICKLE.replace(b"\tBootstrap", bytes([len(name)]) + name.encode())
    assert pickled == expected[:3] + bytes([length - 11]) + expected[4:]
    assert type(dill.loads(pickled)) is type(one)


def test_every_provider_of_the_program_has_an_address() -> None:
    known = {type(provider.load(name)) for name in PROVIDERS}
    leaves = {it for it in classes(dynamic.ResourceProvider) if not it.__subclasses__()}
    assert leaves == known


def test_an_old_pickle_loads_after_its_class_has_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert type(dill.loads(PICKLE)).__name__ == "BootstrapProvider"
    moved = ModuleType("another_folder.another_file")

    class Renamed(Provider[Any]):
        name = "Bootstrap"

    moved.Renamed = Renamed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, moved.__name__, moved)
    monkeypatch.setitem(PROVIDERS, "Bootstrap", "another_folder.another_file:Renamed")
    assert type(dill.loads(PICKLE)) is Renamed


def test_the_module_imports_no_component() -> None:
    text = Path(provider.__file__).read_text(encoding="utf-8")
    assert "from components" not in text


@dataclass(frozen=True, kw_only=True)
class ExampleInputs:
    """Inputs with a group."""

    node: str
    cluster: dict[str, Any]
    size: int
    note: str


class Example(Provider[ExampleInputs]):
    """A provider that records the calls of its methods."""

    name = "Example"
    inputs = ExampleInputs
    id_input = "node"
    ignored = ("cluster.endpoints", "note")
    stored = ("node", "cluster", "size")

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []

    def on_create(self, inputs: ExampleInputs) -> dict[str, Any]:
        """Record it."""
        self.done.append(("create", vars(inputs)))
        return {"path": "somewhere"}

    def on_update(self, olds: ExampleInputs, news: ExampleInputs, changed: Any) -> None:
        """Record it."""
        self.done.append(("update", list(changed)))

    def on_delete(self, inputs: ExampleInputs) -> None:
        """Record it."""
        self.done.append(("delete", vars(inputs)))

    def refuse(self, olds: ExampleInputs, news: ExampleInputs) -> None:
        """Refuse a smaller size."""
        if news.size < olds.size:
            raise ValueError("smaller")

    def require(self, news: ExampleInputs, changed: Any) -> None:
        """Record it."""
        self.done.append(("require", list(changed)))


PROPS = {"node": "n1", "cluster": {"name": "c", "endpoints": ["a"]}, "size": 4.0, "note": "x"}
"""Inputs as Pulumi passes them: every number is a float."""


def test_create_stores_kept_inputs_and_new_outputs() -> None:
    example = Example()
    made = example.create({**PROPS, "__provider": "pickled"})
    assert made.id == "n1"
    assert made.outs == {
        "node": "n1",
        "cluster": {"name": "c", "endpoints": ["a"]},
        "size": 4,
        "path": "somewhere",
    }
    assert example.done == [("create", {**PROPS, "size": 4})]


def test_compare_without_needs_tools_requires_nothing() -> None:
    example, bigger = Example(), PROPS | {"size": 5}
    assert example.compare(PROPS, bigger, needs_tools=False).changes
    assert example.done == []
    assert example.diff("", PROPS, bigger).changes
    assert example.done == [("require", ["size"])]
    with pytest.raises(ValueError, match="smaller"):
        example.compare(bigger, PROPS, needs_tools=False)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({}, []),
        ({"size": 4}, []),
        ({"note": "y", "__provider": "another"}, []),
        ({"cluster": {"name": "c", "endpoints": ["a", "b"]}}, []),
        ({"cluster": {"name": "d", "endpoints": ["a"]}}, ["cluster.name"]),
        ({"cluster": {"endpoints": ["a"]}}, ["cluster.name"]),
        ({"size": 5}, ["size"]),
        ({"new": 1}, ["new"]),
        ({"new": None}, []),  # Pulumi drops null
    ],
)
def test_inputs_that_are_compared(change: dict[str, Any], changed: list[str]) -> None:
    example = Example()
    found = example.diff("n1", {**PROPS, "__provider": "pickled"}, PROPS | change)
    assert found.changes is bool(changed)
    assert found.replaces == []
    assert example.done == ([("require", changed)] if changed else [])


def test_refuse_update_and_delete_are_called_with_integers() -> None:
    example = Example()
    with pytest.raises(ValueError, match="smaller"):
        example.diff("n1", PROPS, PROPS | {"size": 3.0})
    assert example.update("n1", PROPS, PROPS | {"size": 5.0}).outs == {
        "node": "n1",
        "cluster": PROPS["cluster"],
        "size": 5,
    }
    example.delete("n1", {**PROPS, "__provider": "pickled"})
    assert example.done == [("update", ["size"]), ("delete", {**PROPS, "size": 4})]


def test_whole_numbers_become_integers() -> None:
    assert plain({"a": 1.0, "b": [2.0, {"c": 2.5}], "__provider": ""}) == {
        "a": 1,
        "b": [2, {"c": 2.5}],
    }
    assert isinstance(plain({"a": 1.0})["a"], int)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A group of inputs."""

    gib: int


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups of inputs in all forms that providers use."""

    one: Size
    maybe: Size | None
    many: Mapping[str, Size]
    text: str = "default"


def test_groups_of_inputs_become_dataclasses() -> None:
    size = {"gib": 3}
    props = {"one": size, "maybe": size, "many": {"n1": size}, "text": "x", "other": 1}
    assert parse(Groups, props) == Groups(
        one=Size(gib=3), maybe=Size(gib=3), many={"n1": Size(gib=3)}, text="x"
    )


def test_a_missing_input_is_its_default_or_none() -> None:
    """Pulumi drops nulls, and old inputs are only the stored ones."""
    found = parse(Groups, {"one": None})
    assert vars(found) == {"one": None, "maybe": None, "many": None, "text": "default"}


def test_a_value_that_is_unknown_in_a_preview_stays_unknown() -> None:
    unknown = Unknown()  # type: ignore[no-untyped-call]
    assert parse(Groups, {"one": unknown}).one is unknown  # type: ignore[comparison-overlap]
