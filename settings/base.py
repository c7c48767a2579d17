"""The base class of all settings groups."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    model_validator,
)


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
