"""The charts have every key of the values, and accept the values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.components.charts import KEYS, all_values, key_paths

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "charts"


@pytest.mark.parametrize("chart", ["longhorn-1.12.1", "metallb-0.16.1", "traefik-41.3.0"])
def test_the_charts_have_every_key(chart: str) -> None:
    """Helm ignores a mistyped key in Longhorn's chart (no schema) and MetalLB's (open schema)."""
    known = set((KEYS / f"{chart}.txt").read_text(encoding="utf-8").split())
    for values in all_values(chart):
        assert sorted(key for key in key_paths(values) if key not in known) == []


def test_a_mistyped_key_is_found() -> None:
    assert "speaker.tolerationz" in key_paths({"speaker": {"tolerationz": []}})
    known = (KEYS / "metallb-0.16.1.txt").read_text(encoding="utf-8").split()
    assert "speaker.tolerations" in known and "speaker.tolerationz" not in known


@pytest.mark.parametrize("chart", ["metallb-0.16.1", "traefik-41.3.0"])
def test_the_charts_schemas_accept_the_values(chart: str) -> None:
    file = SHARED / f"{chart}.values.schema.json"
    if not file.exists():
        pytest.skip(f"{file.name} is not beside the project")
    schema = json.loads(file.read_text(encoding="utf-8"))
    known = yaml.safe_load((SHARED / f"{chart}.values.yaml").read_text(encoding="utf-8"))
    for values in all_values(chart):
        jsonschema.Draft7Validator(schema).validate(_merged(known, values))


def _merged(known: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Merge values over the chart's defaults like Helm: a null removes a key."""
    result = dict(known)
    for key, value in values.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result
