"""One call to the API, free of HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from . import errors

Handler = Callable[["Call"], Awaitable[object]]
"""Answers the value of ``data``."""

Route = tuple[str, str, Handler]
"""Method, path below ``/api2/json``, and what answers it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """Who asks for what."""

    user: str
    path: Mapping[str, str]
    """The variable parts of the path."""
    parameters: Mapping[str, str]
    """Query and form, taken together as Proxmox VE does."""

    def require(self, name: str) -> str:
        """Return a parameter that may not be missing."""
        try:
            return self.parameters[name]
        except KeyError:
            raise errors.invalid_parameter(
                name, "property is missing and it is not optional"
            ) from None

    def integer(self, name: str) -> int:
        """Return a required parameter that must be a whole number."""
        text = self.require(name)
        if not text.isdigit():
            raise errors.invalid_parameter(name, "type check ('integer') failed")
        return int(text)
