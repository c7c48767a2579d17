"""The schema for editors is current, and agrees with the models about every stack file here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from settings import rules, schema
from settings.load import load
from settings.problems import SettingsError
from tests.settings.test_fixtures import INVALID, ROOT, VALID, _name, document, engine_map

STACK_FILES = sorted(ROOT.glob("Pulumi.*.yaml"))
NOT_IN_A_SCHEMA = {
    "missing-token": "it may come from the environment",
    "namespace-misspelt": "a namespace of somebody else is not ours to judge",
    "network-with-host-bits": "which bits are the host's is arithmetic",
    "port-that-is-none": "which ports there are is arithmetic",
    "backup-schedule-out-of-bounds": "which hours there are is arithmetic",
    "token-bad": "it stands in the file encrypted",
    "flux-key-has-a-passphrase": "it stands in the file encrypted",
    "flux-key-is-public": "it stands in the file encrypted",
    "age-key-bad": "it stands in the file encrypted",
}
"""Fixtures whose mistake lies in one setting, but beyond what a schema can say."""


def underlined(config: dict[str, Any]) -> list[str]:
    """What an editor would find wrong."""
    checker = jsonschema.Draft7Validator(
        schema.schema(), format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
    )
    return [error.message for error in checker.iter_errors({"config": config})]


@pytest.fixture(autouse=True)
def _without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN", raising=False)
    monkeypatch.setattr("pulumi.log.warn", lambda text: None)


def test_the_file_is_current() -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.text(), "run: make schema"


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema.schema())


@pytest.mark.parametrize("path", STACK_FILES, ids=_name)
def test_each_stack_file_names_it_and_agrees_with_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    place = schema.FILE.relative_to(ROOT)
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={place}"
    assert underlined(yaml.safe_load(text)["config"]) == []


@pytest.mark.parametrize("path", VALID, ids=_name)
def test_a_valid_stack_file_is_not_underlined(path: Path) -> None:
    assert underlined(document(path)) == []


@pytest.mark.parametrize("path", INVALID, ids=_name)
def test_a_mistake_within_one_setting_is_underlined_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rules, which look at several settings, the models refuse just the same."""
    monkeypatch.setattr(rules, "broken", lambda groups: ())
    monkeypatch.setattr(rules, "advice", lambda groups, running: ())
    try:
        load(engine_map(document(path)), path.stem)
    except SettingsError:
        refused = path.stem not in NOT_IN_A_SCHEMA
    else:
        refused = False
    assert bool(underlined(document(path))) == refused


def test_what_is_beyond_a_schema_has_fixtures() -> None:
    assert NOT_IN_A_SCHEMA.keys() <= {path.stem for path in INVALID}


def test_an_encrypted_token_is_not_underlined() -> None:
    encrypted = {"proxmoxve:apiToken": {"secure": "v1:x:y"}}
    assert underlined(document(VALID[0]) | encrypted) == []
    assert underlined(document(VALID[0]) | {"proxmoxve:apiToken": {"secured": "v1:x:y"}})


def test_every_key_says_what_it_is() -> None:
    whole = schema.schema()
    groups = {"config": whole["properties"]["config"], **whole["definitions"]}
    dumb = [
        f"{group} {key}"
        for group, content in groups.items()
        for key, value in content["properties"].items()
        if not value.get("description") and "$ref" not in value
    ]
    assert dumb == []
    assert all(content.get("description") for content in whole["definitions"].values())
