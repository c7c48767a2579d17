"""Operations on a running cluster, and checks of its state. Nothing here depends on Pulumi."""

from __future__ import annotations

import time
from collections.abc import Callable

PROGRESS_S = 60
"""Seconds that a wait has the same reason before the reason is reported."""
TIME_SERVER_FIX = (
    "no time server answers the node over NTP (UDP port 123): set `cluster.ntp` to a time server "
    "that the nodes can reach, for example your router"
)
"""Why the clock of a node is not synchronized, and what to do."""


def report(text: str) -> None:
    """Print a message, which Pulumi shows under *Diagnostics* (tried with Pulumi 3.259)."""
    print(text, flush=True)


class Progress:
    """Reports why a wait is not over: each reason once, after ``PROGRESS_S`` seconds."""

    def __init__(self, subject: str, explain: Callable[[str], str] = str) -> None:
        """``subject`` is the start of each message. ``explain`` gets a reason and returns what to
        report; empty for nothing."""
        self._subject, self._explain = subject, explain
        self._reason = ""
        self._since = 0.0
        self._reported: set[str] = set()

    def __call__(self, reason: str) -> None:
        """Take the present reason, without a period."""
        now = time.monotonic()
        if reason != self._reason:
            self._reason, self._since = reason, now
        if now - self._since >= PROGRESS_S and reason not in self._reported:
            self._reported.add(reason)
            if text := self._explain(reason):
                report(f"{self._subject}: {text}. Still waiting.")
