"""The rows of the timeline: one per operation, or one for many similar operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from report.model import Bar, Timeline

MAX_SEPARATE_ROWS = 5
"""Up to this number of similar operations have separate rows. More of them share one row.

Similar operations have the same component, the same type and the same operation (``create``).
"""
SHARED_BAR_HEIGHT, SHARED_BAR_GAP = 3, 1
"""Height of a bar in a shared row, and of the gap between two bars, in pixels."""
SINGLE_BAR_HEIGHT = 12
"""Height of a bar that is alone in its row, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the timeline, with one bar or several bars below each other."""

    name: str
    operation: str
    bars: tuple[Bar, ...]

    @property
    def start(self) -> float:
        """Start of the first bar, in seconds."""
        return min(bar.start for bar in self.bars)

    @property
    def end(self) -> float:
        """End of the last bar, in seconds."""
        return max(bar.end for bar in self.bars)

    @property
    def critical(self) -> bool:
        """Whether one of the bars is on the critical path."""
        return any(bar.critical for bar in self.bars)

    @property
    def failed(self) -> bool:
        """Whether one of the operations failed."""
        return any(bar.failed for bar in self.bars)

    @property
    def bar_height(self) -> int:
        """Height of each bar, in pixels."""
        return SINGLE_BAR_HEIGHT if len(self.bars) == 1 else SHARED_BAR_HEIGHT

    @property
    def height(self) -> int:
        """Height of the row, in pixels."""
        if len(self.bars) == 1:
            return SINGLE_BAR_HEIGHT
        return len(self.bars) * (SHARED_BAR_HEIGHT + SHARED_BAR_GAP) - SHARED_BAR_GAP


def build_rows(timeline: Timeline) -> tuple[Row, ...]:
    """Build the rows of a timeline, sorted by start."""
    return tuple(sorted(_rows(timeline), key=lambda row: row.start))


def _rows(timeline: Timeline) -> Iterator[Row]:
    kinds: dict[tuple[str, str, str], list[Bar]] = {}
    for bar in timeline.bars:
        kinds.setdefault((bar.component, bar.type, bar.operation), []).append(bar)
    for (component, type_, operation), bars in kinds.items():
        if len(bars) > MAX_SEPARATE_ROWS:
            name = f"{component}: {len(bars)} of type {type_.rpartition(':')[2]}"
            yield Row(name=name, operation=operation, bars=tuple(bars))
        else:
            for bar in bars:
                yield Row(name=bar.name, operation=operation, bars=(bar,))
