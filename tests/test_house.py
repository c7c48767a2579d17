"""The layers of the program: a module imports only from lower layers, and never in a cycle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter

import pytest

from settings.compatibility import PACKAGES
from settings.project import PROJECT_FOLDER

LAYERS = [
    "report",
    "commands",
    "doctor",
    "rehearsal",
    "__main__",
    "preflight",
    "components",
    "lifecycle",
    "lifecycle.operations",
    "clients",
    "backup",
    "settings",
]
"""Packages from the top layer to the bottom. Other packages belong to the layer of their parent."""
COMPONENTS = ["flux", "image", "longhorn", "machines", "metallb", "talos", "traefik", "whoami"]
"""The components. They share only ``components.shared``."""
MODULES = {
    ".".join(path.relative_to(PROJECT_FOLDER).with_suffix("").parts).removesuffix(".__init__"): path
    for package in {layer.partition(".")[0] for layer in LAYERS}
    for path in (
        [PROJECT_FOLDER / "__main__.py"]
        if package == "__main__"
        else (PROJECT_FOLDER / package).rglob("*.py")
    )
}


def imported(module: str) -> set[str]:
    """The modules of this program that a module imports, also below ``TYPE_CHECKING``."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & MODULES.keys() or {node.module}
    return names & MODULES.keys() - {module}


def layer(module: str) -> int:
    """The index of a module in ``LAYERS``: the longest package name that contains it."""
    packages = [name for name in LAYERS if f"{module}.".startswith(f"{name}.")]
    return LAYERS.index(max(packages, key=len))


def test_main_has_at_most_50_lines() -> None:
    lines = (PROJECT_FOLDER / "__main__.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 50


def test_the_program_does_not_use_mocks() -> None:
    """Values that differ in tests are arguments: see ``preflight.sources``."""
    found = [name for name, path in MODULES.items() if "unittest" in path.read_text("utf-8")]
    assert found == []


def test_every_package_is_in_a_layer() -> None:
    packages = {path.name for path in PROJECT_FOLDER.iterdir() if (path / "__init__.py").exists()}
    assert packages == {name.partition(".")[0] for name in LAYERS} - {"__main__"} | {"tests"}
    assert [path.name for path in PROJECT_FOLDER.glob("*.py")] == ["__main__.py"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_lower_layers(module: str) -> None:
    assert [name for name in imported(module) if layer(name) < layer(module)] == []


def test_there_are_no_import_cycles() -> None:
    TopologicalSorter({module: imported(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", sorted(it for it in MODULES if it.startswith("components.")))
def test_a_component_imports_no_other_component(module: str) -> None:
    own = module.split(".")[1]
    assert {it.split(".")[1] for it in imported(module) if it.startswith("components.")} <= {
        own,
        "shared",
    }
    assert own in [*COMPONENTS, "shared"]


def test_requirements_pin_the_tested_versions() -> None:
    pinned = dict(
        line.removesuffix(" \\").split("==")
        for line in (PROJECT_FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    for name, entry in PACKAGES.items():
        assert pinned[name] == entry.tested
