"""Wait with a timeout; the error names the last unmet condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from clients.errors import OperationError

INTERVAL = 2
"""Seconds between two attempts."""

T = TypeVar("T")


class NotYet(Exception):
    """The condition is not met yet. The text is the end of an error message, without a period."""


def wait_until(
    check: Callable[[], T],
    timeout_s: float,
    make_error: Callable[[str], Exception],
    progress: Callable[[str], None] = lambda missing: None,
) -> T:
    """Call ``check`` until it does not raise ``NotYet``, and return its result.

    Calls ``progress`` with the text of each ``NotYet``. After ``timeout_s`` seconds, calls
    ``make_error`` with the text of the last one and raises the result.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return check()
        except NotYet as missing:
            if time.monotonic() >= deadline:
                raise make_error(str(missing)) from None
            progress(str(missing))
        time.sleep(INTERVAL)


def wait_for(check: Callable[[], T], timeout_s: float, failure: str) -> T:
    """Call ``check`` until it does not raise ``NotYet``, and return its result.

    After ``timeout_s`` seconds, raises ``OperationError``: ``{failure} within 60 s: {NotYet}.``
    """

    def make_error(missing: str) -> OperationError:
        return OperationError(f"{failure} within {timeout_s:.0f} s: {missing}.")

    return wait_until(check, timeout_s, make_error)
