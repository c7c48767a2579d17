"""Credentials that the authorities sign: the same for everybody, and never at their end."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from clients.talos import credentials
from clients.talos.credentials import LIFE, RENEWAL, Authority, AuthorityEndedError
from clients.tls import context_of
from rehearsal import authorities

BORN = datetime(2026, 1, 1, tzinfo=UTC)
ENDPOINT = "https://192.168.1.250:6443"


def certs() -> SimpleNamespace:
    """The certificates of machine secrets, as the SDK has them."""
    pairs = {"os": authorities.pair("talos"), "k8s": authorities.pair("kubernetes")}
    named = {n: SimpleNamespace(cert=cert, key=key) for n, (cert, key) in pairs.items()}
    return SimpleNamespace(**named)


def at(monkeypatch: pytest.MonkeyPatch, after: timedelta) -> credentials.Given:
    """What is given so long after the castle's birth."""
    monkeypatch.setattr(time, "time", (BORN + after).timestamp)
    return credentials.given(certs(), "castle", ENDPOINT)


def certificate(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(text))


def test_they_are_the_same_until_it_is_time_and_then_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, moment = at(monkeypatch, timedelta(minutes=5)), timedelta(seconds=1)
    assert at(monkeypatch, RENEWAL - moment) == first
    second = at(monkeypatch, RENEWAL)
    assert second.kubeconfig != first.kubeconfig
    assert second.talos.client_key != first.talos.client_key
    # What the state keeps needs no renewal.
    assert second.access == first.access


@pytest.mark.parametrize("years", [0, 1, 2, 7.3])
def test_however_long_ago_the_last_up_was_they_are_good_for_months(
    monkeypatch: pytest.MonkeyPatch, years: float
) -> None:
    now = BORN + timedelta(days=365 * years)
    given = at(monkeypatch, now - BORN)
    for client in (given.kubernetes, given.talos):
        found = certificate(client.client_certificate)
        assert found.not_valid_before_utc <= now
        assert found.not_valid_after_utc - now >= LIFE - RENEWAL
    told = datetime.fromisoformat(given.ends["kubeconfig"])
    assert told == certificate(given.kubernetes.client_certificate).not_valid_after_utc


def test_the_authorities_have_signed_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = at(monkeypatch, timedelta(days=1))
    for client, names in (
        (given.talos, {NameOID.ORGANIZATION_NAME: "os:admin"}),
        (
            given.kubernetes,
            {NameOID.ORGANIZATION_NAME: "system:masters", NameOID.COMMON_NAME: "admin"},
        ),
    ):
        found = certificate(client.client_certificate)
        found.verify_directly_issued_by(certificate(client.ca_certificate))
        assert {name.oid: name.value for name in found.subject} == names
        assert found.serial_number > 0
        context_of(vars(client))  # fails unless the key is the certificate's


def test_a_kubeconfig_is_as_talos_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = at(monkeypatch, timedelta())
    document = yaml.safe_load(given.kubeconfig)
    assert document["current-context"] == "admin@castle"
    assert document["clusters"][0]["cluster"]["server"] == ENDPOINT
    assert document["users"][0]["user"]["client-key-data"] == given.kubernetes.client_key


def test_our_own_are_good_as_long_as_the_authority() -> None:
    own = credentials.own(certs())
    end = certificate(own.ca_certificate).not_valid_after_utc
    assert certificate(own.client_certificate).not_valid_after_utc == end


def test_an_authority_that_has_ended_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(*authorities.pair("talos"))
    monkeypatch.setattr(time, "time", authority.life.end.timestamp)
    with pytest.raises(AuthorityEndedError, match="ended on 2999-01-01: .* build it anew"):
        _ = authority.current


def test_the_state_tells_when_they_end() -> None:
    outputs = {"certificates": {"kubeconfig": "2027-01-01T00:00:00Z"}, "kubeconfig": "a secret"}
    stack = {"type": "pulumi:pulumi:Stack", "outputs": outputs}
    assert credentials.ends_of(stack) == {"kubeconfig": datetime(2027, 1, 1, tzinfo=UTC)}
    assert credentials.ends_of({"type": "pulumi:pulumi:Stack"}) == {}
    assert credentials.ends_of(stack | {"type": "another"}) == {}
