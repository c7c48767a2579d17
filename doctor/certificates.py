"""How long the castle's certificates are good for, and the files that were written of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from settings.wording import count

SOON = timedelta(days=30)
"""When it is time to renew what people were given."""
LATE = timedelta(days=365)
"""When it is time to think of a new castle: the authorities are good for ten years."""


def check(context: Context) -> Iterator[Finding]:
    """Nothing ends soon."""
    ends = context.ends()
    if not ends:
        yield note("certificates", "are made by an `up`; here is no state of one")
        return
    now = datetime.now(UTC)
    late = [name for name, end in ends.items() if end - now < _limit(name)]
    for name in late:
        yield warning(name.removeprefix("./"), _sentence(name, ends[name] - now), _cure(name, late))
    if not late:
        name, end = min(ends.items(), key=lambda it: it[1])
        yield ok("certificates", f"are good, the first one until {end:%Y-%m-%d}")


def _limit(name: str) -> timedelta:
    return LATE if name == "authorities" else SOON


def _sentence(name: str, left: timedelta) -> str:
    subject = "that lies here as a file " if name.startswith("./") else ""
    if left < timedelta():
        return f"{subject}ended {count(-left.days, 'day')} ago"
    verb = "end" if name == "authorities" else "ends"
    return f"{subject}{verb} in {count(left.days, 'day')}"


def _cure(name: str, late: list[str]) -> str:
    if name == "authorities":
        return "what they sign ends with them: plan to take the castle down and build it anew"
    if not name.startswith("./"):
        return "`make up` renews it"
    own = name.removeprefix("./")
    first = "`make up`, then " if own in late else ""
    return f"{first}`make {own}` writes it anew"
