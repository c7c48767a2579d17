"""Questions to the user at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

YES = frozenset({"--yes", "-y"})
"""Flags of the Pulumi CLI that answer its questions with yes."""
UNATTENDED = frozenset({"--non-interactive"})
"""Flags of the Pulumi CLI that forbid questions."""


def answer_flags(cli_args: Sequence[str]) -> list[str]:
    """Return those of ``cli_args`` that answer or forbid questions: every CLI command has them."""
    return [arg for arg in cli_args if arg in YES | UNATTENDED]


def confirmed(
    sentences: Iterable[str],
    question: str,
    cli_args: Sequence[str],
    fix: str = "answer yes with ARGS=--yes",
) -> bool:
    """Print what will be done, one line per sentence, and ask ``question``.

    A flag of ``YES`` in ``cli_args`` answers yes. Without such a flag and without a terminal the
    answer is no, and ``fix`` is printed: what the user can do instead.
    """
    for sentence in sentences:
        print(f"  - {sentence}")
    if YES & set(cli_args):
        return True
    if not sys.stdin.isatty():
        print(f"{question} This is not a terminal, so the answer is no: {fix}.", flush=True)
        return False
    return input(f"{question} (yes/no) ").strip().lower() in ("y", "yes")
