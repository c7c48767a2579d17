"""When backups run: schedules of five fields, as in crontab(5)."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise

from settings.problems import UserError

_FIELD = r"[0-9*][0-9*/,-]*"
SCHEDULE = re.compile(rf"{_FIELD}( {_FIELD}){{4}}")
"""Five fields; ``check_schedule`` knows their bounds."""
_FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (0, 6),
}
"""The fields and their bounds, as Longhorn and Kubernetes read them (robfig/cron v3 parser.go
``ParseStandard``)."""
_PART = re.compile(r"(\*|(?P<begin>\d{1,2})(-(?P<end>\d{1,2}))?)(/(?P<step>\d{1,3}))?")
_FIRST_DAY, _LAST_DAY = date(2024, 1, 1), date(2032, 12, 31)
"""Days that ``longest_gap`` compares: any leap day of a schedule occurs at least twice."""


def check_schedule(value: str) -> str:
    """Return ``value`` if it is a schedule of five fields; raises ``UserError``."""
    if not SCHEDULE.fullmatch(value):
        raise UserError(
            "is not a schedule of five fields (crontab(5))",
            'write minute, hour, day, month and weekday, as in "0 3 * * *"',
        )
    for text, (name, (first, last)) in zip(value.split(), _FIELDS.items(), strict=True):
        if not all(_is_part(part, first, last) for part in text.split(",")):
            sunday = "; Sunday is 0" if name == "weekday" else ""
            raise UserError(
                f"has a {name} that is none: {text}",
                f"write *, numbers from {first} to {last}, or ranges of them that go up; a step "
                f"behind a slash is 1 or more{sunday}",
            )
    return value


def _is_part(text: str, first: int, last: int) -> bool:
    """Whether ``*``, ``3``, ``1-5`` or one of them with ``/2`` stays within its bounds."""
    found = _PART.fullmatch(text)
    if not found or (found["step"] and int(found["step"]) == 0):
        return False
    if found["begin"] is None:
        return True
    begin = int(found["begin"])
    return first <= begin <= int(found["end"] or begin) <= last


def longest_gap(schedule: str) -> timedelta | None:
    """The longest time between two runs of a schedule that is valid; None if it never runs twice.

    Reads the five fields as Longhorn does (robfig/cron v3 spec.go ``dayMatches``).
    """
    minute, hour, day, month, weekday = schedule.split()
    minutes = [
        60 * hours + rest
        for hours in sorted(_numbers(hour, "hour"))
        for rest in sorted(_numbers(minute, "minute"))
    ]
    days, months = _numbers(day, "day"), _numbers(month, "month")
    weekdays = _numbers(weekday, "weekday")
    # With both fields restricted, a day matches if one of them does.
    either = not (_has_star(day) or _has_star(weekday))
    runs = []
    for number in range(_FIRST_DAY.toordinal(), _LAST_DAY.toordinal() + 1):
        it = date.fromordinal(number)
        matches = (it.day in days, it.isoweekday() % 7 in weekdays)
        if it.month in months and (any(matches) if either else all(matches)):
            runs.append(number)
    gaps = [later - earlier for earlier, later in pairwise(minutes)]
    overnight = minutes[0] - minutes[-1]
    gaps += [24 * 60 * (later - earlier) + overnight for earlier, later in pairwise(runs)]
    return timedelta(minutes=max(gaps)) if len(runs) > 1 else None


def _numbers(field: str, name: str) -> set[int]:
    """The numbers that a valid field stands for."""
    first, last = _FIELDS[name]
    found: set[int] = set()
    for text in field.split(","):
        part = _PART.fullmatch(text)
        assert part, "checked when the settings are loaded"
        begin = int(part["begin"] or first)
        # "5/15" means "5-59/15", and "5" alone means "5-5".
        alone = part["begin"] is not None and not part["step"]
        end = int(part["end"] or (begin if alone else last))
        found |= set(range(begin, end + 1, int(part["step"] or 1)))
    return found


def _has_star(field: str) -> bool:
    """Whether a field restricts nothing: ``*``, alone or in a list; ``*/2`` restricts."""
    return any(part in ("*", "*/1") for part in field.split(","))
