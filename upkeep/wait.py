"""Waiting with an end, which says what was still missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from upkeep.errors import UpkeepError

INTERVAL = 2
"""Seconds between two looks."""

T = TypeVar("T")


class NotYet(Exception):
    """What is still missing, as half a sentence."""


def wait_for(look: Callable[[], T], limit: float, what: str) -> T:
    """Look until it raises ``NotYet`` no more, and return what it found.

    Raises ``UpkeepError``: ``what`` is the sentence, which ends with what was missing last.
    """
    until = time.monotonic() + limit
    while True:
        try:
            return look()
        except NotYet as missing:
            if time.monotonic() >= until:
                raise UpkeepError(f"{what} within {limit:.0f} s: {missing}.") from None
        time.sleep(INTERVAL)
