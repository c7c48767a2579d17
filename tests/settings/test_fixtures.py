"""Valid and invalid stack files; each invalid one has a file with the exact message.

``valid/*.yaml`` load. ``invalid/NAME.yaml`` raises the text of ``invalid/NAME.txt``. A new file in
one of these folders is a new test. A file is either a complete stack file, or a change of a stack
file of the repository::

    base: homelab                           # Pulumi.homelab.yaml, with an API token
    change: {nodes.workers.count: 251}      # dotted paths and their new values (null is a value)
    remove: [cluster.vip]                   # dotted paths to delete

The first part of a path is the group; keys of the provider are written as in a stack file
(``proxmoxve:endpoint``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import compatibility, rules
from settings.groups import PROJECT
from settings.load import _TYPES as TYPE_ERRORS
from settings.load import load
from settings.models import Settings
from settings.problems import Problem, SettingsError

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
VALID = sorted(HERE.glob("valid/*.yaml"))
INVALID = sorted(HERE.glob("invalid/*.yaml"))
TOKEN = "castle@pve!pulumi=5eed1e55-cafe-4bad-8bad-c0ffee123456"


def _name(path: Path) -> str:
    return path.stem


def document(path: Path) -> dict[str, Any]:
    """The ``config`` of a fixture, with its changes applied."""
    fixture = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "base" not in fixture:
        return dict(fixture["config"])
    config = reference(fixture["base"])
    for key, value in fixture.get("change", {}).items():
        parent, last = _resolve(config, key)
        parent[last] = value
    for key in fixture.get("remove", ()):
        parent, last = _resolve(config, key)
        del parent[last]
    return config


def reference(stack: str = "homelab") -> dict[str, Any]:
    """The ``config`` of a stack file of the repository, with a token."""
    file = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return {"proxmoxve:apiToken": TOKEN, **file["config"]}


def _resolve(config: dict[str, Any], dotted: str) -> tuple[dict[str, Any], str]:
    """The mapping that contains the key of a dotted path, and the key."""
    if ":" in dotted:
        return config, dotted
    group, *inner = dotted.split(".")
    parts = [f"{PROJECT}:{group}", *inner]
    for part in parts[:-1]:
        config = config.setdefault(part, {})
    return config, parts[-1]


def engine_map(config: Mapping[str, Any]) -> dict[str, str]:
    """The configuration in the form that Pulumi passes: text, and JSON for other values."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }


def load_fixture(path: Path) -> Settings:
    """Load a fixture as a stack with the name of the file."""
    return load(engine_map(document(path)), path.stem)


@pytest.fixture(autouse=True)
def _no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN", raising=False)


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The logged warnings; ``pulumi.log`` itself needs a running Pulumi engine."""
    logged: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", logged.append)
    return logged


@pytest.mark.parametrize("path", VALID, ids=_name)
def test_a_valid_stack_file_loads(path: Path) -> None:
    assert load_fixture(path).stack == path.stem


@pytest.mark.parametrize("path", INVALID, ids=_name)
def test_an_invalid_stack_file_is_refused_with_the_exact_message(path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load_fixture(path)
    assert f"{raised.value}\n" == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_every_message_belongs_to_a_stack_file() -> None:
    assert {path.stem for path in HERE.glob("invalid/*.txt")} == {path.stem for path in INVALID}


@pytest.mark.parametrize("path", INVALID, ids=_name)
def test_a_token_is_never_shown(path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load_fixture(path)
    token = str(document(path).get("proxmoxve:apiToken", TOKEN))
    assert token.rpartition("=")[2] not in str(raised.value)


def test_a_fixture_has_an_invalid_token() -> None:
    """Without it, ``test_a_token_is_never_shown`` could not fail."""
    wrong = [path for path in INVALID if "proxmoxve:apiToken = (hidden)" in _message(path)]
    assert wrong


# Every rule has a fixture that breaks it ----------------------------------------------------------

BY_ENVIRONMENT = {"packages"}
"""Rules that check installed packages: they have their own tests below."""
BY_STATE = {
    "longhorn_can_be_upgraded",
    "pool_of_running_vms_stays",
    "restore_only_into_new_cluster",
    "running_vms_can_change",
    "versions_can_be_reached",
}
"""Rules that compare settings with the running stack: ``test_running.py`` tests them."""

ALL_RULES = {rule.__name__ for rule in rules.RULES} | {"workers_have_a_first_address"}


@pytest.fixture(scope="module")
def broken_rules() -> set[str]:
    """Names of the rules that at least one invalid fixture breaks."""
    found: set[str] = set()
    real = rules.broken

    def spy(groups: Mapping[str, Any]) -> Iterator[Problem]:
        before = len(list(real(groups, ())))
        if before:
            found.add("workers_have_a_first_address")
        for rule in rules.RULES:
            if len(list(real(groups, (rule,)))) > before:
                found.add(rule.__name__)
        return real(groups)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PROXMOX_VE_API_TOKEN", raising=False)
        patch.setattr(rules, "broken", spy)
        for path in INVALID:
            with pytest.raises(SettingsError):
                load_fixture(path)
    return found


@pytest.mark.parametrize("rule", sorted(ALL_RULES - BY_ENVIRONMENT - BY_STATE))
def test_every_rule_is_broken_by_a_fixture(rule: str, broken_rules: set[str]) -> None:
    assert rule in broken_rules, f"write tests/settings/invalid/*.yaml that breaks {rule}"


def test_the_version_checks_are_rules() -> None:
    assert {"talos_and_kubernetes", "charts", "packages"} <= ALL_RULES


@pytest.mark.parametrize("kind", sorted(TYPE_ERRORS))
def test_every_type_error_has_a_fixture(kind: str) -> None:
    reason, fix = TYPE_ERRORS[kind]
    assert any(f"    {reason}\n    -> {fix}\n" in _message(path) for path in INVALID)


def _message(path: Path) -> str:
    return path.with_suffix(".txt").read_text(encoding="utf-8")


# Provider packages and tokens --------------------------------------------------------------------


@pytest.mark.parametrize("package", sorted(compatibility.PACKAGES))
def test_another_provider_package_is_refused(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(name: str) -> str:
        return "9.9.9" if name == package else version(name)

    monkeypatch.setattr("settings.compatibility.version", other)
    with pytest.raises(SettingsError) as raised:
        load_fixture(VALID[0])
    (problem,) = raised.value.problems
    assert problem.path == f"requirements.txt {package}"
    assert problem.value == "9.9.9"
    assert compatibility.PACKAGES[package].tested in problem.reason
    assert "make venv" in problem.fix


def test_a_missing_provider_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("settings.compatibility.version", missing)
    with pytest.raises(SettingsError) as raised:
        load_fixture(VALID[0])
    assert {problem.value for problem in raised.value.problems} == {"missing"}
    assert len(raised.value.problems) == len(compatibility.PACKAGES)


@pytest.mark.parametrize(
    "entries", [compatibility.TALOS, compatibility.CHARTS], ids=["talos", "charts"]
)
def test_every_version_range_has_a_source(entries: Mapping[Any, Any]) -> None:
    assert all(entry.source for entry in entries.values())


def test_a_token_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", TOKEN)
    config = reference()
    del config["proxmoxve:apiToken"]
    settings = load(engine_map(config), "homelab")
    assert settings.proxmoxve.api_token.get_secret_value() == TOKEN


def test_the_token_of_the_stack_takes_precedence_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", "other@pve!token=1")
    settings = load(engine_map(reference()), "homelab")
    assert settings.proxmoxve.api_token.get_secret_value() == TOKEN


def test_printed_settings_do_not_contain_the_token() -> None:
    settings = load(engine_map(reference()), "homelab")
    assert TOKEN.rpartition("=")[2] not in f"{settings!r} {settings} {settings.model_dump_json()}"
