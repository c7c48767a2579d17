"""The stand-in charts, as far as they can be judged without Helm; tests/tools does the rest."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from tests.components.charts import all_values
from tests.e2e.lab import STAND_INS
from tests.recorder import settings_with

NAMES = ["flux-operator", "longhorn", "metallb", "traefik"]
SETTINGS = settings_with(flux={"url": "https://github.com/me/manifests.git"})


def pinned(name: str) -> str:
    """The version of a chart that the reference homelab asks for, with Flux."""
    return str(getattr(SETTINGS, name.removesuffix("-operator")).chart_version)


def test_every_chart_is_tried() -> None:
    assert sorted(file.parent.name for file in STAND_INS.glob("*/Chart.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_calls_itself_what_the_settings_pin(name: str) -> None:
    chart = yaml.safe_load((STAND_INS / name / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["name"], chart["version"]) == (name, pinned(name))


@pytest.mark.parametrize("name", NAMES)
def test_it_knows_every_key_that_we_set(name: str) -> None:
    known = yaml.safe_load((STAND_INS / name / "values.yaml").read_text(encoding="utf-8"))
    for values in all_values(f"{name}-{pinned(name)}"):
        assert unknown(values, known) == []


OPEN = {
    *(
        "deployment.podAnnotations",
        "nodeSelector",
        "certificatesResolvers",
        "service.annotations",
        "service.spec",
    ),
    *("securityContext.capabilities", "ports.web.http", "ports.websecure.http"),
    *("ports.web.hostPort", "ports.websecure.hostPort"),
}
"""Places whose default is empty; Traefik's schema knows what may stand there."""


def unknown(values: dict[str, Any], known: dict[str, Any], above: str = "") -> list[str]:
    """The dotted path of every key of ours that a chart's own values leave out."""
    found = []
    for key, value in values.items():
        path = f"{above}{key}"
        if path in OPEN:
            continue
        if key not in known:
            found.append(path)
        elif isinstance(value, dict):
            found += unknown(value, known[key], f"{path}.")
    return found


def test_a_key_that_it_does_not_know_is_found() -> None:
    assert unknown({"speaker": {"tolerationz": []}}, {"speaker": {}}) == ["speaker.tolerationz"]


@pytest.mark.parametrize("name", ["flux-operator", "metallb", "traefik"])
def test_its_schema_accepts_our_values(name: str) -> None:
    schema = json.loads((STAND_INS / name / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    for values in all_values(f"{name}-{pinned(name)}"):
        jsonschema.Draft7Validator(schema).validate(values)
