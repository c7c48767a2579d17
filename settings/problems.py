"""What is wrong with a stack file, said so that the reader can mend it without a manual."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong: where, what was found, why it cannot be, and what to do."""

    path: str
    """The setting, as it is nested in the stack file: ``nodes.workers.first_address``."""
    value: str
    """What stands there now, as text; ``missing`` where nothing stands."""
    reason: str
    """Why this cannot work."""
    fix: str
    """What to write instead."""

    def __str__(self) -> str:
        return f"{self.path} = {self.value}\n    {self.reason}\n    -> {self.fix}"


class UserError(ValueError):
    """A value that cannot be used, with its reason and its fix in two parts."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


class SettingsError(pulumi.RunError):
    """The stack's settings cannot be used; carries every problem found, in the order of paths.

    A ``RunError``, so that the engine shows the message alone, without a traceback.
    """

    def __init__(self, problems: Iterable[Problem], stack: str) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"Pulumi.{stack}.yaml has {count} {noun}; nothing has been touched.\n{lines}"
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A fix for an unknown word: the nearest known one, or else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(known)}" if known else "remove it"
