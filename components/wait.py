"""Waiting with an end, which tells what was missing last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

INTERVAL = 2
"""Seconds between two looks."""

T = TypeVar("T")


class NotYet(Exception):
    """What is still missing, as half a sentence."""


def wait_until(look: Callable[[], T], limit: float, told: Callable[[str], Exception]) -> T:
    """Look until it raises ``NotYet`` no more, and return what it found.

    After ``limit`` seconds raises what ``told`` makes of what was missing last.
    """
    until = time.monotonic() + limit
    while True:
        try:
            return look()
        except NotYet as missing:
            if time.monotonic() >= until:
                raise told(str(missing)) from None
        time.sleep(INTERVAL)
