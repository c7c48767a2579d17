"""The rows of the timeline: one for each operation, or one for many of a kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from report.model import Bar, Timeline

MANY = 5
"""From more than so many of one kind on, they share a row."""
STROKE, APART = 3, 1
"""Height of one of many bars, and of the room between them."""
ALONE = 12
"""Height of a bar that has a row of its own."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What stands on one line of the timeline."""

    name: str
    operation: str
    bars: tuple[Bar, ...]

    @property
    def start(self) -> float:
        """When the first of it began."""
        return min(bar.start for bar in self.bars)

    @property
    def end(self) -> float:
        """When the last of it ended."""
        return max(bar.end for bar in self.bars)

    @property
    def critical(self) -> bool:
        """Whether one of it is on the critical path."""
        return any(bar.critical for bar in self.bars)

    @property
    def failed(self) -> bool:
        """Whether one of it failed."""
        return any(bar.failed for bar in self.bars)

    @property
    def stroke(self) -> int:
        """Height of each bar."""
        return ALONE if len(self.bars) == 1 else STROKE

    @property
    def height(self) -> int:
        """Height of all bars, one below the other."""
        return ALONE if len(self.bars) == 1 else len(self.bars) * (STROKE + APART) - APART


def of(timeline: Timeline) -> tuple[Row, ...]:
    """The rows of a timeline, by beginning."""
    return tuple(sorted(_rows(timeline), key=lambda row: row.start))


def _rows(timeline: Timeline) -> Iterator[Row]:
    kinds: dict[tuple[str, str, str], list[Bar]] = {}
    for bar in timeline.bars:
        kinds.setdefault((bar.component, bar.type, bar.operation), []).append(bar)
    for (component, type_, operation), bars in kinds.items():
        if len(bars) > MANY:
            name = f"{component}: {len(bars)} of {type_.rpartition(':')[2]}"
            yield Row(name=name, operation=operation, bars=tuple(bars))
        else:
            for bar in bars:
                yield Row(name=bar.name, operation=operation, bars=(bar,))
