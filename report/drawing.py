"""Shapes that a picture is made of. How each style looks is the stylesheet's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTHS = {"title": 8.6, "strong": 8.0, "text": 7.2, "small": 6.7}
"""Widths of a character in units of a picture: the mean of a wide font."""


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
    """A path through points, straight or with soft turns."""

    d: str
    """The path in SVG's own notation."""
    style: str
    arrow: bool = False
    """Whether it ends in an arrow head."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """One line of text; ``y`` is its base line."""

    x: float
    y: float
    text: str
    style: str = "text"
    anchor: str = "start"


Shape = Box | Line | Label


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a fixed size, which scales as a whole."""

    name: str
    """Unique on the page."""
    title: str
    description: str
    """What is seen, for those who cannot see it."""
    width: float
    height: float
    shapes: Sequence[Shape]
    """From the back to the front."""


def straight(*points: tuple[float, float]) -> str:
    """A path from point to point."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def curve(start: tuple[float, float], end: tuple[float, float], *, across: bool) -> str:
    """A soft path; ``across`` leaves and arrives from left to right, else from top to bottom."""
    (x1, y1), (x2, y2) = start, end
    if across:
        middle = (x1 + x2) / 2
        return f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    middle = (y1 + y2) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"


def length(text: str, style: str) -> float:
    """How wide a text may become."""
    return len(text) * _WIDTHS[style]


def cut(text: str, width: float, style: str = "text") -> str:
    """The text, ended by an ellipsis where it would be wider than ``width``."""
    fits = int(width / _WIDTHS[style])
    return text if len(text) <= fits else text[: max(1, fits - 1)] + "…"


def spread(wanted: Sequence[float], size: float, low: float, high: float) -> list[float]:
    """Centres as near as can be to the wanted ones, in their order, ``size`` apart or more.

    ``low`` and ``high`` are where the first may begin and the last must end; they must leave room.
    """
    placed: list[float] = []
    for centre in wanted:
        least = placed[-1] + size if placed else low + size / 2
        placed.append(max(centre, least))
    limit = high - size / 2
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - size
    return placed
