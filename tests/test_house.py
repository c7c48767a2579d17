"""The house's own rules: who may import whom, and what stands in one place only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from rehearsal.run import PROGRAM
from settings.compatibility import PACKAGES

PARTS = {
    "clients",
    "commands",
    "components",
    "doctor",
    "engine",
    "guests",
    "lifecycle",
    "preflight",
    "proxmox_api",
    "rehearsal",
    "report",
    "settings",
    "survey",
    "tests",
    "upkeep",
}


def imported(file: Path) -> set[str]:
    """The modules that a file imports, by their full names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parts(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(file)} & PARTS


def files(part: str) -> list[Path]:
    return sorted((PROGRAM / part).rglob("*.py"))


def test_main_reads_as_one_sentence() -> None:
    lines = (PROGRAM / "__main__.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60


@pytest.mark.parametrize("file", files("settings"), ids=lambda file: file.name)
def test_settings_import_nothing_of_ours(file: Path) -> None:
    assert parts(file) <= {"settings"}


@pytest.mark.parametrize("file", files("components"), ids=lambda file: file.name)
def test_a_component_imports_no_other_component(file: Path) -> None:
    components = {
        "image",
        "machines",
        "cluster",
        "longhorn",
        "metallb",
        "traefik",
        "whoami",
        "flux",
    }
    others = {f"components.{name}" for name in components - {file.stem}}
    assert not imported(file) & others
    assert parts(file) <= {"clients", "components", "lifecycle", "settings", "upkeep"}


@pytest.mark.parametrize("file", files("upkeep"), ids=lambda file: file.name)
def test_upkeep_knows_neither_the_engine_nor_who_calls_it(file: Path) -> None:
    assert parts(file) <= {"components", "proxmox_api", "settings", "upkeep"}


@pytest.mark.parametrize("file", files("clients"), ids=lambda file: file.name)
def test_a_client_imports_settings_and_clients_alone(file: Path) -> None:
    assert parts(file) <= {"clients", "settings"}


@pytest.mark.parametrize("file", files("commands"), ids=lambda file: file.name)
def test_commands_know_neither_the_report_nor_the_tests(file: Path) -> None:
    assert not parts(file) & {"report", "rehearsal", "tests"}


@pytest.mark.parametrize("file", files("lifecycle"), ids=lambda file: file.name)
def test_dynamic_resources_know_neither_the_engine_nor_the_rehearsal(file: Path) -> None:
    assert parts(file) <= {"clients", "components", "lifecycle", "settings", "upkeep"}


@pytest.mark.parametrize("file", files("preflight"), ids=lambda file: file.name)
def test_preflight_imports_settings_and_clients_alone(file: Path) -> None:
    assert parts(file) <= {"clients", "preflight", "settings"}


def test_the_program_knows_neither_the_rehearsal_nor_the_tests() -> None:
    for name in ("__main__.py", "guests.py", "survey.py", "proxmox_api.py"):
        assert parts(PROGRAM / name) <= {
            "components",
            "guests",
            "lifecycle",
            "preflight",
            "proxmox_api",
            "settings",
            "survey",
            "upkeep",
        }


@pytest.mark.parametrize("file", files("doctor"), ids=lambda file: file.name)
def test_the_doctor_knows_the_engine_by_its_command_alone(file: Path) -> None:
    commands = {"engine"} if file.name == "__main__.py" else set()
    known = {
        "clients",
        "components",
        "doctor",
        "guests",
        "lifecycle",
        "proxmox_api",
        "rehearsal",
        "settings",
    }
    assert parts(file) <= known | commands


def test_requirements_pin_the_versions_that_the_castle_was_run_with() -> None:
    pinned = dict(
        line.removesuffix(" \\").split("==")
        for line in (PROGRAM / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    for name, entry in PACKAGES.items():
        assert pinned[name] == entry.tested
