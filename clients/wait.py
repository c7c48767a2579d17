"""Wait with a timeout; the error names the last unmet condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from clients.errors import OperationError

INTERVAL = 2
"""Seconds between two looks."""

T = TypeVar("T")


class NotYet(Exception):
    """The condition that is not met yet, as half a sentence."""


def wait_until(look: Callable[[], T], limit: float, told: Callable[[str], Exception]) -> T:
    """Call ``look`` until it no longer raises ``NotYet``, and return its result.

    After ``limit`` seconds, raises what ``told`` makes of the last ``NotYet``.
    """
    until = time.monotonic() + limit
    while True:
        try:
            return look()
        except NotYet as missing:
            if time.monotonic() >= until:
                raise told(str(missing)) from None
        time.sleep(INTERVAL)


def wait_for(look: Callable[[], T], limit: float, what: str) -> T:
    """Call ``look`` until it no longer raises ``NotYet``, and return its result.

    After ``limit`` seconds, raises ``OperationError`` with ``what`` and the last ``NotYet``.
    """

    def told(missing: str) -> OperationError:
        return OperationError(f"{what} within {limit:.0f} s: {missing}.")

    return wait_until(look, limit, told)
