"""Credentials signed by the CAs: the same in every run, and never close to their expiry."""

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

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ENDPOINT = "https://192.168.1.250:6443"


def certs() -> SimpleNamespace:
    """The certificates of machine secrets, as the SDK has them."""
    pairs = {"os": authorities.pair("talos"), "k8s": authorities.pair("kubernetes")}
    named = {n: SimpleNamespace(cert=cert, key=key) for n, (cert, key) in pairs.items()}
    return SimpleNamespace(**named)


def credentials_after(
    monkeypatch: pytest.MonkeyPatch, age: timedelta
) -> credentials.ClusterCredentials:
    """The credentials of a cluster of this age."""
    monkeypatch.setattr(time, "time", (CREATED + age).timestamp)
    return credentials.issue_admin(certs(), "castle", ENDPOINT)


def certificate(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(text))


def test_credentials_change_only_with_a_renewal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, moment = credentials_after(monkeypatch, timedelta(minutes=5)), timedelta(seconds=1)
    assert credentials_after(monkeypatch, RENEWAL - moment) == first
    second = credentials_after(monkeypatch, RENEWAL)
    assert second.kubeconfig != first.kubeconfig
    assert second.talos.client_key != first.talos.client_key
    # The internal kubeconfig is valid as long as the CA.
    assert second.internal_kubeconfig == first.internal_kubeconfig


@pytest.mark.parametrize("years", [0, 1, 2, 7.3])
def test_credentials_are_valid_for_months_at_any_age_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch, years: float
) -> None:
    now = CREATED + timedelta(days=365 * years)
    given = credentials_after(monkeypatch, now - CREATED)
    for client in (given.kubernetes, given.talos):
        found = certificate(client.client_certificate)
        assert found.not_valid_before_utc <= now
        assert found.not_valid_after_utc - now >= LIFE - RENEWAL
    end = datetime.fromisoformat(given.ends["kubeconfig"])
    assert end == certificate(given.kubernetes.client_certificate).not_valid_after_utc


def test_credentials_are_signed_by_the_ca_of_their_api(monkeypatch: pytest.MonkeyPatch) -> None:
    given = credentials_after(monkeypatch, timedelta(days=1))
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
        context_of(client)  # fails if the key does not belong to the certificate


def test_a_kubeconfig_has_the_names_that_talos_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    given = credentials_after(monkeypatch, timedelta())
    document = yaml.safe_load(given.kubeconfig)
    assert document["current-context"] == "admin@castle"
    assert document["clusters"][0]["cluster"]["server"] == ENDPOINT
    assert document["users"][0]["user"]["client-key-data"] == given.kubernetes.client_key


def test_internal_credentials_are_valid_as_long_as_the_ca() -> None:
    own = credentials.issue_internal(certs())
    end = certificate(own.ca_certificate).not_valid_after_utc
    assert certificate(own.client_certificate).not_valid_after_utc == end


def test_an_expired_ca_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(*authorities.pair("talos"))
    monkeypatch.setattr(time, "time", authority.life.end.timestamp)
    with pytest.raises(
        AuthorityEndedError, match="expired on 2999-01-01, .* creates a new cluster"
    ):
        _ = authority.current


def test_expiry_times_are_read_from_the_stack_outputs() -> None:
    outputs = {"certificates": {"kubeconfig": "2027-01-01T00:00:00Z"}, "kubeconfig": "a secret"}
    stack = {"type": "pulumi:pulumi:Stack", "outputs": outputs}
    assert credentials.ends_of(stack) == {"kubeconfig": datetime(2027, 1, 1, tzinfo=UTC)}
    assert credentials.ends_of({"type": "pulumi:pulumi:Stack"}) == {}
    assert credentials.ends_of(stack | {"type": "another"}) == {}
