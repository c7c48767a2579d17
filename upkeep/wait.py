"""Waiting as upkeep does: it ends with an ``UpkeepError`` that says what was still missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from components.wait import NotYet, wait_until
from upkeep.errors import UpkeepError

__all__ = ["NotYet", "wait_for"]

T = TypeVar("T")


def wait_for(look: Callable[[], T], limit: float, what: str) -> T:
    """Look until it raises ``NotYet`` no more, and return what it found.

    Raises ``UpkeepError``: ``what`` is the sentence, which ends with what was missing last.
    """

    def told(missing: str) -> UpkeepError:
        return UpkeepError(f"{what} within {limit:.0f} s: {missing}.")

    return wait_until(look, limit, told)
