"""Shapes of a picture, in units of its viewBox. ``templates/style.css`` defines their styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTHS = {"title": 8.6, "strong": 8.0, "text": 7.2, "small": 6.7}
"""Mean width of a character by text style, in units of a picture, for a wide font."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A straight or curved line."""

    d: str
    """The SVG path, as in the attribute ``d``."""
    style: str
    arrow: bool = False
    """Whether the line ends in an arrow head."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """One line of text; ``y`` is its baseline."""

    x: float
    y: float
    text: str
    style: str = "text"
    anchor: str = "start"


Shape = Box | Line | Label


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a fixed size; the page scales it as a whole."""

    name: str
    """A name that is unique on the page; the ids in the SVG begin with it."""
    title: str
    description: str
    """Text description of the picture, for screen readers."""
    width: float
    height: float
    shapes: Sequence[Shape]
    """Shapes in drawing order: later shapes cover earlier ones."""


def straight(*points: tuple[float, float]) -> str:
    """The SVG path of straight lines through the points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def curve(start: tuple[float, float], end: tuple[float, float], *, across: bool) -> str:
    """The SVG path of an S curve.

    Both ends of the curve are horizontal with ``across``, otherwise vertical.
    """
    (x1, y1), (x2, y2) = start, end
    if across:
        middle = (x1 + x2) / 2
        return f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    middle = (y1 + y2) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"


def length(text: str, style: str) -> float:
    """The estimated width of a text."""
    return len(text) * _WIDTHS[style]


def cut(text: str, width: float, style: str = "text") -> str:
    """Shorten a text that is wider than ``width``, and end it with an ellipsis."""
    fits = int(width / _WIDTHS[style])
    return text if len(text) <= fits else text[: max(1, fits - 1)] + "…"


def spread(wanted: Sequence[float], size: float, low: float, high: float) -> list[float]:
    """Place items of one size between ``low`` and ``high`` without overlap.

    ``wanted`` are the preferred centers in ascending order. The returned centers are near them and
    in the same order. All items together must fit between ``low`` and ``high``.
    """
    placed: list[float] = []
    for center in wanted:
        minimum = placed[-1] + size if placed else low + size / 2
        placed.append(max(center, minimum))
    maximum = high - size / 2
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], maximum)
        maximum = placed[index] - size
    return placed
