"""The layers of the program: every import points down, and no file imports itself in a circle."""

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
"""From the top to the bottom. A package that is not named belongs to the layer of its parent."""
COMPONENTS = ["flux", "image", "longhorn", "machines", "metallb", "talos", "traefik", "whoami"]
"""Components, which share ``components.shared`` and nothing else."""
MODULES = {
    ".".join(path.relative_to(PROJECT_FOLDER).with_suffix("").parts).removesuffix(".__init__"): path
    for part in {layer.partition(".")[0] for layer in LAYERS}
    for path in (
        [PROJECT_FOLDER / "__main__.py"]
        if part == "__main__"
        else (PROJECT_FOLDER / part).rglob("*.py")
    )
}


def imported(module: str) -> set[str]:
    """Our modules that a module imports, also for its types alone."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & MODULES.keys() or {node.module}
    return names & MODULES.keys() - {module}


def layer(module: str) -> int:
    """Where a module is in ``LAYERS``: the longest name that its own begins with."""
    found = [name for name in LAYERS if f"{module}.".startswith(f"{name}.")]
    return LAYERS.index(max(found, key=len))


def test_main_reads_as_one_sentence() -> None:
    lines = (PROJECT_FOLDER / "__main__.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 50


def test_only_tests_replace_parts_of_the_program() -> None:
    """The program takes what varies as an argument: see ``preflight.sources``."""
    found = [name for name, path in MODULES.items() if "unittest" in path.read_text("utf-8")]
    assert found == []


def test_every_file_of_the_program_is_in_a_layer() -> None:
    ours = {path.name for path in PROJECT_FOLDER.iterdir() if (path / "__init__.py").exists()}
    assert ours == {name.partition(".")[0] for name in LAYERS} - {"__main__"} | {"tests"}
    assert [path.name for path in PROJECT_FOLDER.glob("*.py")] == ["__main__.py"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_an_import_points_down(module: str) -> None:
    assert [name for name in imported(module) if layer(name) < layer(module)] == []


def test_no_file_imports_itself_in_a_circle() -> None:
    TopologicalSorter({module: imported(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", sorted(it for it in MODULES if it.startswith("components.")))
def test_a_component_imports_no_other_component(module: str) -> None:
    own = module.split(".")[1]
    assert {it.split(".")[1] for it in imported(module) if it.startswith("components.")} <= {
        own,
        "shared",
    }
    assert own in [*COMPONENTS, "shared"]


def test_requirements_pin_the_versions_that_the_castle_was_run_with() -> None:
    pinned = dict(
        line.removesuffix(" \\").split("==")
        for line in (PROJECT_FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    for name, entry in PACKAGES.items():
        assert pinned[name] == entry.tested
