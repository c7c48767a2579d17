"""What every group of settings has in common."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    model_validator,
)


class Group(BaseModel):
    """A group of settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_an_empty_group(cls, value: Any) -> Any:
        """A key with nothing behind it: what it needs is then named, and the rest has defaults."""
        return {} if value is None else value
