"""Problems of a stack file: each names the setting, its value, the reason and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, order=True)
class Problem:
    """One problem of a stack file."""

    path: str
    """Path of the setting: ``nodes.workers.first_address``."""
    value: str
    """Current value as text; ``missing`` if the setting is not set."""
    reason: str
    """Why the value cannot be used."""
    fix: str
    """What to do, as an imperative."""

    def __str__(self) -> str:
        return f"{self.path} = {self.value}\n    {self.reason}\n    -> {self.fix}"


class UserError(ValueError):
    """A validator refuses a value: ``reason`` completes "VALUE …", ``fix`` is an imperative."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


class SettingsError(pulumi.RunError):
    """The settings of a stack are invalid. ``problems`` holds all problems, sorted by path.

    A ``RunError``, because Pulumi shows its message without a traceback.
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
    """A fix for an unknown word: the most similar known word, or all known words."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"use one of: {', '.join(known)}" if known else "remove it"
