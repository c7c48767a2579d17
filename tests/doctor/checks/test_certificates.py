"""The doctor's check of certificates in the state and in files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from doctor.checks import certificates
from doctor.findings import Finding


def findings(**days: float) -> list[Finding]:
    """The findings if certificates expire in so many days. A name with ``_`` is a file (``./``)."""
    now = datetime.now(UTC)
    ends = {n.replace("_", "./"): now + timedelta(days=left, hours=1) for n, left in days.items()}
    context: Any = SimpleNamespace(certificate_ends=lambda: ends)
    return list(certificates.check_certificates(context))


def test_certificates_that_expire_later_are_ok() -> None:
    (found,) = findings(kubeconfig=31, talosconfig=31, authorities=366, _kubeconfig=31)
    end = datetime.now(UTC) + timedelta(days=31, hours=1)
    assert (found.result, found.text) == ("ok", f"are valid, the first one until {end:%Y-%m-%d}")


def test_each_certificate_that_expires_soon_has_a_fix() -> None:
    found = findings(
        kubeconfig=29, talosconfig=400, authorities=364, _kubeconfig=1, _talosconfig=-3
    )
    assert [(it.result, it.subject, it.text, it.fix) for it in found] == [
        ("warning", "kubeconfig", "expires in 29 days", "run `make up`, which renews it"),
        (
            "warning",
            "CAs of the cluster",
            "expire in 364 days",
            "all certificates that they signed expire with them: plan to rebuild the cluster with "
            "`make down` and `make up`",
        ),
        (
            "warning",
            "file kubeconfig",
            "expires in 1 day",
            "run `make up`, then `make kubeconfig`, which writes the file again",
        ),
        (
            "warning",
            "file talosconfig",
            "expired 3 days ago",
            "run `make talosconfig`, which writes the file again",
        ),
    ]


def test_without_a_state_there_is_one_note() -> None:
    (found,) = findings()
    assert found.result == "note"
