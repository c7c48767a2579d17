"""Asks a person who sits at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

YES = frozenset({"--yes", "-y"})
"""The CLI's own words for: ask nothing."""


UNATTENDED = frozenset({"--non-interactive"})
"""The CLI's own word for: nobody is there."""


def answers(more: Sequence[str]) -> list[str]:
    """Of the words for one command of the CLI those that any other takes too."""
    return [word for word in more if word in YES | UNATTENDED]


def confirmed(
    sentences: Iterable[str],
    question: str,
    more: Sequence[str],
    fix: str = "say yes with ARGS=--yes",
) -> bool:
    """Say what will be done, and ask whether to do it.

    ``more`` are the words for the CLI: one of ``YES`` among them answers for the person. Without
    it, and without a terminal, the answer is no, and ``fix`` says what to do.
    """
    for sentence in sentences:
        print(f"  - {sentence}")
    if YES & set(more):
        return True
    if not sys.stdin.isatty():
        print(f"{question} Nobody is there to ask: {fix}.", flush=True)
        return False
    return input(f"{question} (yes/no) ").strip().lower() in ("y", "yes")
