"""The certificates of the report: names and dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from backup.acme_json import Certificate
from commands.acme_record import Signed
from report import certificates
from report.model import Certificates
from tests.report.certificates import NOW, state_of


def found_in(
    resources: list[dict[str, Any]], signed: Sequence[Signed] = (), server: str = "production"
) -> Certificates:
    """The certificates of a state and of sites."""
    return certificates.build_certificates(resources, signed, server, NOW)


def test_certificates_are_names_and_dates() -> None:
    found = found_in(state_of(days=300)[0]).found
    assert [(one.name, one.days_left) for one in found] == [
        ("kubeconfig", 300),
        ("talosconfig", 301),
        ("Kubernetes CA", 302),
        ("Kubernetes aggregator CA", 303),
        ("etcd CA", 304),
        ("Talos CA", 305),
    ]


def test_an_expired_certificate_has_negative_days_left() -> None:
    assert found_in(state_of(days=-2)[0]).found[0].days_left == -2


def test_a_state_without_certificates_gives_the_reason() -> None:
    assert found_in([]).reason == "the stack has no cluster yet"
    broken = [{"type": "talos:machine/secrets:Secrets", "outputs": {"machineSecrets": "[secret]"}}]
    assert found_in(broken).found == ()


def test_site_certificates_are_those_of_the_acme_server_in_use() -> None:
    resources, ends = state_of(days=300)[0], NOW + timedelta(days=60)
    signed = [
        Signed(server=server, certificate=Certificate((name,), NOW, ends))
        for server, name in (("production", "tazlab.net"), ("staging", "old.tazlab.net"))
    ]
    first, *rest = found_in(resources, signed).found
    assert (first.name, first.ends, first.days_left) == ("tazlab.net", ends, 60)
    assert tuple(rest) == found_in(resources).found
    site, *rest = found_in(resources, signed, "staging").found
    assert site.name == "old.tazlab.net" and "browsers do not trust it" in site.opens
    assert tuple(rest) == found_in(resources).found


def test_without_a_cluster_there_are_no_certificates_of_sites() -> None:
    signed = [Signed(server="production", certificate=Certificate(("tazlab.net",), NOW, NOW))]
    assert found_in([], signed).found == ()
