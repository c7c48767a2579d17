"""Check of the expiry of kubeconfig, talosconfig and CAs, in the state and in files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from settings.wording import count

SUBJECT = "kubeconfig, talosconfig and CAs"
CREDENTIAL_WARNING = timedelta(days=30)
"""A kubeconfig or talosconfig that expires within this time is a warning."""
CA_WARNING = timedelta(days=365)
"""A CA that expires within this time is a warning. CAs are valid for ten years."""


def check_certificates(context: Context) -> Iterator[Finding]:
    """Check that no certificate expires soon."""
    ends = context.certificate_ends()
    if not ends:
        yield note(SUBJECT, "are not checked: the first `make up` creates them")
        return
    now = datetime.now(UTC)
    expiring = [name for name, end in ends.items() if end - now < _warning_time(name)]
    for name in expiring:
        yield warning(_subject(name), _sentence(name, ends[name] - now), _fix(name, expiring))
    if not expiring:
        _, end = min(ends.items(), key=lambda it: it[1])
        yield ok(SUBJECT, f"are valid, the first one until {end:%Y-%m-%d}")


def _warning_time(name: str) -> timedelta:
    return CA_WARNING if name == "authorities" else CREDENTIAL_WARNING


def _subject(name: str) -> str:
    if name == "authorities":
        return "CAs of the cluster"
    return f"file {name.removeprefix('./')}" if name.startswith("./") else name


def _sentence(name: str, left: timedelta) -> str:
    if left < timedelta():
        return f"expired {count(-left.days, 'day')} ago"
    verb = "expire" if name == "authorities" else "expires"
    return f"{verb} in {count(left.days, 'day')}"


def _fix(name: str, expiring: list[str]) -> str:
    if name == "authorities":
        return (
            "all certificates that they signed expire with them: plan to rebuild the cluster with "
            "`make down` and `make up`"
        )
    if not name.startswith("./"):
        return "run `make up`, which renews it"
    output = name.removeprefix("./")
    first = "`make up`, then " if output in expiring else ""
    return f"run {first}`make {output}`, which writes the file again"
