"""Backup schedules with five fields, as in crontab(5)."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise

from settings.problems import UserError

_FIELD = r"[0-9*][0-9*/,-]*"
SCHEDULE = re.compile(rf"{_FIELD}( {_FIELD}){{4}}")
"""The form of a schedule; ``check_schedule`` also checks the bounds of each field."""
_FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (0, 6),
}
"""Minimum and maximum of each field in Longhorn and Kubernetes (robfig/cron v3 parser.go
``ParseStandard``)."""
_PART = re.compile(r"(\*|(?P<begin>\d{1,2})(-(?P<end>\d{1,2}))?)(/(?P<step>\d{1,3}))?")
_FIRST_DAY, _LAST_DAY = date(2024, 1, 1), date(2032, 12, 31)
"""The period that ``longest_gap`` examines. It contains 29 February more than once."""


def check_schedule(value: str) -> str:
    """Return ``value`` if it is a valid schedule; raises ``UserError``."""
    if not SCHEDULE.fullmatch(value):
        raise UserError(
            "is not a schedule of five fields (crontab(5))",
            'write minute, hour, day, month and weekday, such as "0 3 * * *"',
        )
    for text, (name, (first, last)) in zip(value.split(), _FIELDS.items(), strict=True):
        if not all(_is_part(part, first, last) for part in text.split(",")):
            sunday = "; Sunday is 0" if name == "weekday" else ""
            raise UserError(
                f"has an invalid {name}: {text}",
                f"write *, numbers from {first} to {last}, or ascending ranges of these numbers; a "
                f"step after a slash is 1 or more{sunday}",
            )
    return value


def _is_part(text: str, first: int, last: int) -> bool:
    """Whether one part of a field (``*``, ``3``, ``1-5``, ``1-5/2``) is valid and within bounds."""
    found = _PART.fullmatch(text)
    if not found or (found["step"] and int(found["step"]) == 0):
        return False
    if found["begin"] is None:
        return True
    begin = int(found["begin"])
    return first <= begin <= int(found["end"] or begin) <= last


def longest_gap(schedule: str) -> timedelta | None:
    """The longest time between two runs of a valid schedule; None if it runs at most once.

    Interprets days and weekdays as Longhorn does (robfig/cron v3 spec.go ``dayMatches``).
    """
    minute, hour, day, month, weekday = schedule.split()
    minutes = [
        60 * hours + rest
        for hours in sorted(_numbers(hour, "hour"))
        for rest in sorted(_numbers(minute, "minute"))
    ]
    days, months = _numbers(day, "day"), _numbers(month, "month")
    weekdays = _numbers(weekday, "weekday")
    # If day and weekday are both restricted, a date matches if one of them matches.
    one_suffices = not (_has_star(day) or _has_star(weekday))
    runs = []
    for number in range(_FIRST_DAY.toordinal(), _LAST_DAY.toordinal() + 1):
        day_of_run = date.fromordinal(number)
        matches = (day_of_run.day in days, day_of_run.isoweekday() % 7 in weekdays)
        if day_of_run.month in months and (any(matches) if one_suffices else all(matches)):
            runs.append(number)
    gaps = [later - earlier for earlier, later in pairwise(minutes)]
    overnight = minutes[0] - minutes[-1]
    gaps += [24 * 60 * (later - earlier) + overnight for earlier, later in pairwise(runs)]
    return timedelta(minutes=max(gaps)) if len(runs) > 1 else None


def _numbers(field: str, name: str) -> set[int]:
    """All numbers that a valid field matches."""
    first, last = _FIELDS[name]
    found: set[int] = set()
    for text in field.split(","):
        part = _PART.fullmatch(text)
        assert part, "checked when the settings are loaded"
        begin = int(part["begin"] or first)
        # In a field of minutes "5/15" means "5-59/15", and "5" means "5-5".
        alone = part["begin"] is not None and not part["step"]
        end = int(part["end"] or (begin if alone else last))
        found |= set(range(begin, end + 1, int(part["step"] or 1)))
    return found


def _has_star(field: str) -> bool:
    """Whether a field contains ``*`` or ``*/1``, so that it matches every number."""
    return any(part in ("*", "*/1") for part in field.split(","))
