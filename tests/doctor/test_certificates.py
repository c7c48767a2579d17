"""Certificates that end soon, in the state and in files, are told of with what renews them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from doctor import certificates
from doctor.findings import Finding


def look(**days: float) -> list[Finding]:
    """What is found where certificates end in so many days; ``_`` is ``./``."""
    now = datetime.now(UTC)
    ends = {n.replace("_", "./"): now + timedelta(days=left, hours=1) for n, left in days.items()}
    context: Any = SimpleNamespace(ends=lambda: ends)
    return list(certificates.check(context))


def test_certificates_with_a_life_before_them_are_well() -> None:
    (found,) = look(kubeconfig=31, talosconfig=31, authorities=366, _kubeconfig=31)
    end = datetime.now(UTC) + timedelta(days=31, hours=1)
    assert (found.result, found.text) == ("ok", f"are good, the first one until {end:%Y-%m-%d}")


def test_each_that_ends_soon_has_its_cure() -> None:
    found = look(kubeconfig=29, talosconfig=400, authorities=364, _kubeconfig=1, _talosconfig=-3)
    assert [(it.result, it.subject, it.text, it.fix) for it in found] == [
        ("warning", "kubeconfig", "ends in 29 days", "`make up` renews it"),
        (
            "warning",
            "authorities",
            "end in 364 days",
            "what they sign ends with them: plan to take the castle down and build it anew",
        ),
        (
            "warning",
            "kubeconfig",
            "that lies here as a file ends in 1 day",
            "`make up`, then `make kubeconfig` writes it anew",
        ),
        (
            "warning",
            "talosconfig",
            "that lies here as a file ended 3 days ago",
            "`make talosconfig` writes it anew",
        ),
    ]


def test_where_there_is_no_state_nothing_is_claimed() -> None:
    (found,) = look()
    assert found.result == "note"
