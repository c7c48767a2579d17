"""The certificates of the report: names and dates."""

from __future__ import annotations

from datetime import timedelta

from backup.acme_json import Certificate
from commands.acme_record import Signed
from report import certificates
from tests.report.certificates import NOW, state_of


def test_certificates_are_names_and_dates() -> None:
    found = certificates.find_certificates(state_of(days=300)[0], NOW).found
    assert [(one.name, one.days_left) for one in found] == [
        ("kubeconfig", 300),
        ("talosconfig", 301),
        ("Kubernetes CA", 302),
        ("Kubernetes aggregator CA", 303),
        ("etcd CA", 304),
        ("Talos CA", 305),
    ]


def test_an_expired_certificate_has_negative_days_left() -> None:
    assert certificates.find_certificates(state_of(days=-2)[0], NOW).found[0].days_left == -2


def test_a_state_without_certificates_gives_the_reason() -> None:
    assert certificates.find_certificates([], NOW).reason == "the stack has no cluster yet"
    broken = [{"type": "talos:machine/secrets:Secrets", "outputs": {"machineSecrets": "[secret]"}}]
    assert certificates.find_certificates(broken, NOW).found == ()


def test_site_certificates_are_those_of_the_acme_server_in_use() -> None:
    found = certificates.find_certificates(state_of(days=300)[0], NOW)
    ends = NOW + timedelta(days=60)
    signed = [
        Signed(server=server, certificate=Certificate((name,), NOW, ends))
        for server, name in (("production", "tazlab.net"), ("staging", "old.tazlab.net"))
    ]
    both = certificates.add_site_certificates(found, signed, "production", NOW)
    first, *rest = both.found
    assert (first.name, first.ends, first.days_left) == ("tazlab.net", ends, 60)
    assert tuple(rest) == found.found
    (site,) = set(certificates.add_site_certificates(found, signed, "staging", NOW).found) - set(
        rest
    )
    assert site.name == "old.tazlab.net" and "browsers do not trust it" in site.opens
    empty = certificates.no_certificates("the state cannot be read")
    assert certificates.add_site_certificates(empty, signed, "production", NOW) == empty
