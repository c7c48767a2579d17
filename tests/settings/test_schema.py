"""The JSON schema is up to date, and accepts and refuses the same fixtures as the models."""

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
    "missing-token": "the token may be in the environment",
    "namespace-misspelt": "the schema allows other namespaces",
    "network-with-host-bits": "a schema cannot calculate host bits",
    "port-that-is-none": "a pattern does not limit numbers in text",
    "backup-schedule-out-of-bounds": "a pattern does not limit numbers in text",
    "token-bad": "the value is usually encrypted",
    "flux-key-has-a-passphrase": "the value is usually encrypted",
    "flux-key-is-public": "the value is usually encrypted",
    "age-key-bad": "the value is usually encrypted",
}
"""Fixtures with a mistake in one setting that the schema cannot detect, with the reason."""


def schema_errors(config: dict[str, Any]) -> list[str]:
    """The errors that an editor shows."""
    checker = jsonschema.Draft7Validator(
        schema.schema(), format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
    )
    return [error.message for error in checker.iter_errors({"config": config})]


@pytest.fixture(autouse=True)
def _without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN", raising=False)
    monkeypatch.setattr("pulumi.log.warn", lambda text: None)


def test_schema_json_is_up_to_date() -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.text(), "run: make schema"


def test_schema_json_is_a_valid_json_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema.schema())


@pytest.mark.parametrize("path", STACK_FILES, ids=_name)
def test_each_stack_file_names_the_schema_and_is_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    location = schema.FILE.relative_to(ROOT)
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={location}"
    assert schema_errors(yaml.safe_load(text)["config"]) == []


@pytest.mark.parametrize("path", VALID, ids=_name)
def test_the_schema_accepts_a_valid_stack_file(path: Path) -> None:
    assert schema_errors(document(path)) == []


@pytest.mark.parametrize("path", INVALID, ids=_name)
def test_the_schema_refuses_mistakes_in_one_setting_and_no_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rules, models and schema refuse the same stack files."""
    monkeypatch.setattr(rules, "broken", lambda groups: ())
    monkeypatch.setattr(rules, "advice", lambda groups, running: ())
    try:
        load(engine_map(document(path)), path.stem)
    except SettingsError:
        refused = path.stem not in NOT_IN_A_SCHEMA
    else:
        refused = False
    assert bool(schema_errors(document(path))) == refused


def test_every_exception_of_the_schema_has_a_fixture() -> None:
    assert NOT_IN_A_SCHEMA.keys() <= {path.stem for path in INVALID}


def test_the_schema_accepts_an_encrypted_token() -> None:
    encrypted = {"proxmoxve:apiToken": {"secure": "v1:x:y"}}
    assert schema_errors(document(VALID[0]) | encrypted) == []
    assert schema_errors(document(VALID[0]) | {"proxmoxve:apiToken": {"secured": "v1:x:y"}})


def test_every_key_has_a_description() -> None:
    whole = schema.schema()
    groups = {"config": whole["properties"]["config"], **whole["definitions"]}
    undocumented = [
        f"{group} {key}"
        for group, content in groups.items()
        for key, value in content["properties"].items()
        if not value.get("description") and "$ref" not in value
    ]
    assert undocumented == []
    assert all(content.get("description") for content in whole["definitions"].values())
