"""The type of a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from settings.problems import Problem

Rule = Callable[..., Iterator[Problem]]
