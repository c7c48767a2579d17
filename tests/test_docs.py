"""The manual and the table of settings name every key there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from settings.load import GROUPS, model_of
from settings.project import PROJECT_FOLDER


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a group, and of the groups in it."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        annotation: Any = field.annotation
        for candidate in (annotation, *get_args(annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from keys(candidate)


ALL = sorted({key for field in GROUPS.values() for key in keys(model_of(field))} | set(GROUPS))


@pytest.mark.parametrize("file", ["Pulumi.homelab.yaml", "docs/settings.md"])
def test_every_key_is_explained(file: str) -> None:
    text = (PROJECT_FOLDER / file).read_text(encoding="utf-8")
    assert [key for key in ALL if key not in text] == []


def test_readme_names_the_one_command_of_the_tests() -> None:
    assert "make test" in (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "make test" in (PROJECT_FOLDER / ".ci" / "run").read_text(encoding="utf-8")
