"""The book of rules: what the real thing refuses, each rule with its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rehearsal.record import Recording


@dataclass(frozen=True)
class Finding:
    """One refusal: by which rule, of which resource, what would be said, and who says so."""

    rule: str
    resource: str
    """Name of the resource."""
    message: str
    source: str

    def __str__(self) -> str:
        source = f" [{self.source}]" if self.source else ""
        return f"{self.resource}: {self.message}{source}"


Check = Callable[[Recording], Iterator[tuple[str, str]]]
"""Yields pairs of a resource's name and what would be said of it."""


RULES: dict[str, tuple[Check, str]] = {}
"""Every rule by its name, with its source."""


def rule(source: str) -> Callable[[Check], Check]:
    """Make a function a rule; ``source`` says who refuses."""

    def add(check: Check) -> Check:
        RULES[check.__name__] = (check, source)
        return check

    return add


def findings(recording: Recording) -> list[Finding]:
    """All that the real thing would refuse."""
    found = []
    for name, (check, source) in RULES.items():
        try:
            found += [Finding(name, resource, said, source) for resource, said in check(recording)]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # What a rule looks at is not there at all: refused too, though by a worse message.
            found.append(Finding(name, "castle", f"cannot be looked at: {error!r}", source))
    return found
