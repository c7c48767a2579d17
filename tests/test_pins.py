"""All dependencies are pinned, and Renovate finds every pinned version."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings.project import PROJECT_FOLDER

RENOVATE = json.loads((PROJECT_FOLDER / "renovate.json").read_text(encoding="utf-8"))
WORKFLOWS = sorted((PROJECT_FOLDER / ".github" / "workflows").glob("*.yml"))
REQUIREMENTS = ["requirements.txt", "requirements-dev.txt"]


# Requirements -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_has_a_version_and_hashes_and_nothing_else(name: str) -> None:
    text = (PROJECT_FOLDER / name).read_text(encoding="utf-8").replace(" \\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    wrong = [
        line
        for line in lines
        if not re.fullmatch(r"[a-z0-9.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+", line)
    ]
    assert lines
    assert wrong == []


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_txt_contains_every_line_of_requirements_in(name: str) -> None:
    source = (PROJECT_FOLDER / name).with_suffix(".in").read_text(encoding="utf-8")
    # A line is a pinned version, or a name for which pip-compile chooses the version.
    wanted = [
        re.sub(r"\[.*\]", "", line.lower()) for line in source.splitlines() if re.match(r"\w", line)
    ]
    generated = (PROJECT_FOLDER / name).read_text(encoding="utf-8")
    missing = [it for it in wanted if f"\n{it}{' ' if '==' in it else '=='}" not in generated]
    assert wanted
    assert missing == [], "run: make requirements"


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_renovate_can_generate_the_requirements_again(name: str) -> None:
    """Renovate reads the command in the header and accepts only these options."""
    header = re.match(r"(#.*\n)+?#    (pip-compile .*)\n", (PROJECT_FOLDER / name).read_text())
    assert header
    *options, source = header.group(2).split()[1:]
    assert source == name.replace(".txt", ".in")
    known = {"--generate-hashes", "--allow-unsafe", "--no-emit-index-url", "--strip-extras"}
    assert set(options) <= known
    assert any(_matches(pattern, name) for pattern in _patterns(RENOVATE["pip-compile"]))


# Versions below a comment -------------------------------------------------------------------------


def _patterns(manager: dict[str, Any]) -> list[str]:
    return [pattern.strip("/") for pattern in manager["managerFilePatterns"]]


def _matches(pattern: str, path: str) -> bool:
    return re.search(pattern, path) is not None


def _renovate_versions() -> list[tuple[str, str, str]]:
    """The versions that Renovate finds: file, dependency and version."""
    (manager,) = RENOVATE["customManagers"]
    found = []
    for path in _files():
        name = path.relative_to(PROJECT_FOLDER).as_posix()
        if any(_matches(pattern, name) for pattern in _patterns(manager)):
            for expression in manager["matchStrings"]:
                python_expression = expression.replace("(?<", "(?P<")
                for match in re.finditer(python_expression, path.read_text(encoding="utf-8")):
                    found.append((name, match["depName"], match["currentValue"]))
    return found


def _files() -> list[Path]:
    folders = ("components", "settings", ".github")
    files = [
        file for name in folders for file in (PROJECT_FOLDER / name).rglob("*") if file.is_file()
    ]
    return [
        *PROJECT_FOLDER.glob("*.*"),
        *(f for f in files if f.suffix in (".py", ".yml", ".yaml")),
    ]


def test_renovate_finds_the_version_below_every_renovate_comment() -> None:
    commented = [
        file.relative_to(PROJECT_FOLDER).as_posix()
        for file in _files()
        if file.suffix in (".py", ".yml", ".yaml")
        for _ in re.finditer(r"# renovate:", file.read_text(encoding="utf-8"))
    ]
    assert sorted(commented) == sorted(name for name, _, _ in _renovate_versions())
    assert "Pulumi.homelab.yaml" in commented


def test_a_dependency_has_the_same_version_everywhere() -> None:
    versions = defaultdict(set)
    for _, name, version in _renovate_versions():
        versions[name].add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


# Workflows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_github_actions_are_pinned_by_commit_hash(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert [it for it in used if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", it)] == []
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_ci_runs_the_same_command_as_developers() -> None:
    workflow = yaml.safe_load(
        (PROJECT_FOLDER / ".github/workflows/test.yml").read_text(encoding="utf-8")
    )
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
