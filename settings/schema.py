"""Generates the JSON schema of a stack file from the models, for editors.

``python -m settings.schema`` writes ``settings/schema.json``. The schema checks single settings;
``rules`` compare several settings and are not part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from settings.groups import PROJECT, Endpoint
from settings.load import GROUPS, model_of

FILE = Path(__file__).with_name("schema.json")
"""Path of the generated schema. The first line of each stack file names it."""

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The version of JSON Schema that the YAML language server supports best."""

_OTHER_KEYS = f"^(?!{PROJECT}:|proxmoxve:)[^:]+:"
"""Keys of Pulumi and of other projects, which the schema allows without a check."""


class _Generator(GenerateJsonSchema):
    """Omits titles, and lets groups and mappings be null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Omit the title, because it would repeat the key."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of a group, which may be null if it has no required keys."""
        result = super().model_schema(schema)
        result.pop("title", None)
        if not result.get("required"):
            result["type"] = ["object", "null"]
        return result

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """The schema of a mapping, which may be null."""
        return super().dict_schema(schema) | {"type": ["object", "null"]}


def schema() -> dict[str, Any]:
    """The schema of ``Pulumi.<stack>.yaml``."""
    models: dict[str, type[BaseModel]] = {name: model_of(field) for name, field in GROUPS.items()}
    references, whole = models_json_schema(
        [(model, "validation") for model in models.values()],
        ref_template="#/definitions/{model}",
        schema_generator=_Generator,
    )
    definitions = whole["$defs"]
    endpoint = definitions.pop(Endpoint.__name__)
    groups = {
        f"{PROJECT}:{name}": references[model, "validation"]
        for name, model in models.items()
        if model is not Endpoint
    }
    needed = [f"{PROJECT}:{name}" for name, field in GROUPS.items() if field.is_required()]
    provider = {f"proxmoxve:{name}": value for name, value in endpoint["properties"].items()}
    config = {
        "type": "object",
        "properties": provider | groups,
        "patternProperties": {_OTHER_KEYS: True},
        "additionalProperties": False,
        # The token may come from the environment.
        "required": ["proxmoxve:endpoint", *(key for key in needed if key in groups)],
    }
    whole_file = {
        "$schema": DIALECT,
        "title": "Ephemeral Castle stack",
        "description": "Stack file of Ephemeral Castle. docs/settings.md lists keys and rules.",
        "type": "object",
        "properties": {
            "config": config,
            "environment": {"description": "Pulumi ESC environments."},
            **{
                key: {"type": "string", "description": "Written by Pulumi."}
                for key in ("secretsprovider", "encryptedkey", "encryptionsalt")
            },
        },
        "required": ["config"],
        "additionalProperties": False,
        "definitions": definitions,
    }
    return {key: _readable(value) for key, value in whole_file.items()}


def _readable(part: Any) -> Any:
    """A copy with single backticks, and without defaults that are null or whole groups."""
    if isinstance(part, list):
        return [_readable(item) for item in part]
    if not isinstance(part, Mapping):
        return part.replace("``", "`") if isinstance(part, str) else part
    return {
        key: _readable(value)
        for key, value in part.items()
        # A default of a group would repeat those of its keys; null is no useful default to show.
        if not (key == "default" and (value is None or isinstance(value, Mapping)))
    }


def text() -> str:
    """The content of ``schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(f"Wrote {FILE.name}.")
