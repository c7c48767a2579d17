"""The registry of invariants. Each invariant is a function with a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rehearsal.record import Recording


@dataclass(frozen=True)
class Violation:
    """A resource that violates an invariant."""

    invariant: str
    resource: str
    """Name of the resource."""
    message: str
    source: str
    """The upstream document, issue or error message that the invariant comes from."""

    def __str__(self) -> str:
        return f"{self.resource}: {self.message} [{self.source}]"


Check = Callable[[Recording], Iterator[tuple[str, str]]]
"""Yields the name of each resource that violates the invariant, with a message."""


INVARIANTS: dict[str, tuple[Check, str]] = {}
"""Every invariant with its source, by the name of its function."""


def invariant(source: str) -> Callable[[Check], Check]:
    """Return a decorator that adds a function to ``INVARIANTS``."""

    def add(check: Check) -> Check:
        INVARIANTS[check.__name__] = (check, source)
        return check

    return add


def find_violations(recording: Recording) -> list[Violation]:
    """Return all violations of all invariants."""
    return [
        Violation(name, resource, message, source)
        for name, (check, source) in INVARIANTS.items()
        for resource, message in check(recording)
    ]
