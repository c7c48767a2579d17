"""The JSON schema of a stack file, made of the models, for editors that complete and underline.

``python -m settings.schema`` writes it to ``settings/schema.json``. It knows the shape of each
setting; what looks at several of them is in ``rules``, and no editor can ask for that.
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
"""Where the schema lies; the first line of each stack file names it."""

DIALECT = "http://json-schema.org/draft-07/schema#"
"""What the YAML language server understands best."""

_OTHER_KEYS = f"^(?!{PROJECT}:|proxmoxve:)[^:]+:"
"""Settings of the engine and of other programs: not ours to judge."""


class _Generator(GenerateJsonSchema):
    """Without the titles that repeat each key, and with plain marks around code."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No key needs a title: it has a name."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A group; one whose keys all have defaults may be left empty."""
        result = super().model_schema(schema)
        result.pop("title", None)
        if not result.get("required"):
            result["type"] = ["object", "null"]
        return result

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A mapping, which may be left empty too."""
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
        "title": "A stack of Ephemeral Castle",
        "description": "What one castle is made of. docs/settings.md has the rules.",
        "type": "object",
        "properties": {
            "config": config,
            "environment": {"description": "Environments of Pulumi ESC."},
            **{
                key: {"type": "string", "description": "Written by the engine."}
                for key in ("secretsprovider", "encryptedkey", "encryptionsalt")
            },
        },
        "required": ["config"],
        "additionalProperties": False,
        "definitions": definitions,
    }
    return {key: _readable(value) for key, value in whole_file.items()}


def _readable(part: Any) -> Any:
    """The same with plain marks around code, and without defaults that editors show badly."""
    if isinstance(part, list):
        return [_readable(item) for item in part]
    if not isinstance(part, Mapping):
        return part.replace("``", "`") if isinstance(part, str) else part
    return {
        key: _readable(value)
        for key, value in part.items()
        # Those of groups are in their keys, and none says nothing.
        if not (key == "default" and (value is None or isinstance(value, Mapping)))
    }


def text() -> str:
    """The schema as it stands in its file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(f"Wrote {FILE.name}.")
