"""The longest time between two backups, computed from a schedule."""

from __future__ import annotations

from datetime import timedelta

import pytest

from settings.schedule import longest_gap


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("0 3 * * *", timedelta(days=1)),
        ("30 */6 * * *", timedelta(hours=6)),
        ("0 1,3 * * *", timedelta(hours=22)),
        ("5/20 4 * * *", timedelta(hours=23, minutes=20)),
        ("0 3 * * 0", timedelta(days=7)),
        ("0 3 * * 1-5", timedelta(days=3)),
        ("0 3 1 * *", timedelta(days=31)),
        ("0 3 31 * *", timedelta(days=61)),
        # Day and weekday are both restricted: a run on the first and on each Sunday.
        ("0 3 1 * 0", timedelta(days=7)),
        # */1 is equivalent to *, so only the weekday restricts. */2 restricts the day.
        ("0 3 */1 * 0", timedelta(days=7)),
        ("0 3 */2 * 0", timedelta(days=2)),
        ("0 3 1 1 *", timedelta(days=366)),
        ("0 3 29 2 *", timedelta(days=4 * 365 + 1)),
        ("0 3 31 2 *", None),
    ],
)
def test_the_longest_gap_of_a_schedule(schedule: str, gap: timedelta | None) -> None:
    assert longest_gap(schedule) == gap
