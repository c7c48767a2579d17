"""The base class of all settings groups, and the settings below a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo


class Group(BaseModel):
    """A settings group: immutable; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_an_empty_group(cls, value: Any) -> Any:
        """Read a group without a value as empty, so that problems name its required keys."""
        return {} if value is None else value


def group_in(annotation: Any) -> type[Group] | None:
    """The group in the type of a field, such as ``Flux | None`` or ``dict[str, Override]``."""
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Group)), None)


def leaves(model: type[Group], path: str) -> Iterator[tuple[str, FieldInfo]]:
    """Path and field of each setting below a group that is at ``path``.

    The key of a mapping is ``NAME``: ``nodes.overrides.NAME.cores``.
    """
    for name, field in model.model_fields.items():
        key = f"{path}.{field.alias or name}"
        if get_origin(field.annotation) is dict:
            key += ".NAME"
        inner = group_in(field.annotation)
        if inner is None:
            yield key, field
        else:
            yield from leaves(inner, key)
