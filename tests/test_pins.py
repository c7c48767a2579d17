"""What the castle is made of is pinned, and the update bot knows where."""

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
def test_every_requirement_is_pinned_and_hashed_and_nothing_else_is_said(name: str) -> None:
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
def test_requirements_are_made_of_what_is_asked_for(name: str) -> None:
    asked = (PROJECT_FOLDER / name).with_suffix(".in").read_text(encoding="utf-8")
    # A pin as it stands, or a name whose version is not ours to choose.
    wanted = [
        re.sub(r"\[.*\]", "", line.lower()) for line in asked.splitlines() if re.match(r"\w", line)
    ]
    made = (PROJECT_FOLDER / name).read_text(encoding="utf-8")
    missing = [it for it in wanted if f"\n{it}{' ' if '==' in it else '=='}" not in made]
    assert wanted
    assert missing == [], "run: make requirements"


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_update_bot_can_make_requirements_again(name: str) -> None:
    """It reads the command in the header, which may hold these options only."""
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


def _watched() -> list[tuple[str, str, str]]:
    """What the bot finds: file, dependency and version."""
    (manager,) = RENOVATE["customManagers"]
    found = []
    for path in _files():
        place = path.relative_to(PROJECT_FOLDER).as_posix()
        if any(_matches(pattern, place) for pattern in _patterns(manager)):
            for expression in manager["matchStrings"]:
                ours = expression.replace("(?<", "(?P<")
                for match in re.finditer(ours, path.read_text(encoding="utf-8")):
                    found.append((place, match["depName"], match["currentValue"]))
    return found


def _files() -> list[Path]:
    parts = ("components", "settings", ".github")
    below = [
        file for part in parts for file in (PROJECT_FOLDER / part).rglob("*") if file.is_file()
    ]
    return [
        *PROJECT_FOLDER.glob("*.*"),
        *(f for f in below if f.suffix in (".py", ".yml", ".yaml")),
    ]


def test_the_bot_finds_every_version_that_a_comment_points_to() -> None:
    commented = [
        file.relative_to(PROJECT_FOLDER).as_posix()
        for file in _files()
        if file.suffix in (".py", ".yml", ".yaml")
        for _ in re.finditer(r"# renovate:", file.read_text(encoding="utf-8"))
    ]
    assert sorted(commented) == sorted(place for place, _, _ in _watched())
    assert "Pulumi.homelab.yaml" in commented


def test_one_dependency_has_one_version() -> None:
    versions = defaultdict(set)
    for _, name, version in _watched():
        versions[name].add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


# Workflows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_the_hash_of_a_commit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert [it for it in used if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", it)] == []
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_ci_runs_what_a_developer_runs() -> None:
    workflow = yaml.safe_load(
        (PROJECT_FOLDER / ".github/workflows/test.yml").read_text(encoding="utf-8")
    )
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
