"""Pulumi.homelab.yaml and docs/settings.md contain every settings key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from settings.load import GROUPS, model_of
from settings.project import PROJECT_FOLDER


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Yield every key of a settings group and of its nested groups."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        annotation: Any = field.annotation
        for candidate in (annotation, *get_args(annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from keys(candidate)


ALL_KEYS = sorted({key for field in GROUPS.values() for key in keys(model_of(field))} | set(GROUPS))


@pytest.mark.parametrize("file", ["Pulumi.homelab.yaml", "docs/settings.md"])
def test_every_settings_key_is_documented(file: str) -> None:
    text = (PROJECT_FOLDER / file).read_text(encoding="utf-8")
    assert [key for key in ALL_KEYS if key not in text] == []


def test_readme_and_ci_name_the_command_for_all_tests() -> None:
    assert "make test" in (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "make test" in (PROJECT_FOLDER / ".ci" / "run").read_text(encoding="utf-8")
