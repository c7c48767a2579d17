"""Traefik's file: what is taken out of it, and what is no such file."""

from __future__ import annotations

import json

import pytest

from backup import acme_json
from tests.backup.traefiks import BEGINS, ENDS, SERVERS, secrets_of
from tests.backup.traefiks import acme_json as written


def test_names_dates_and_the_server_are_read_and_nothing_secret() -> None:
    content = written("staging", "tazlab.net *.tazlab.net", "example.org")
    found = acme_json.read(content)
    assert found.servers == {SERVERS["staging"]}
    assert [(it.name, it.begins, it.ends) for it in found.certificates] == [
        ("example.org", BEGINS, ENDS),
        ("tazlab.net, *.tazlab.net", BEGINS, ENDS),
    ]
    assert [secret for secret in secrets_of(content) if secret in repr(found)] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b'{"letsencrypt": null}',
        b'{"letsencrypt": {"Account": null, "Certificates": null}}',
    ],
)
def test_a_file_before_the_first_account_has_nothing(content: bytes) -> None:
    assert not acme_json.read(content)


def test_an_account_alone_is_worth_keeping() -> None:
    assert acme_json.read(written("production"))


@pytest.mark.parametrize(
    "content",
    [
        written("production", "tazlab.net")[:-300],  # Traefik is writing it
        b"<html>",
        b"[1]",
        b'{"letsencrypt": {"Certificates": [{"domain": {"main": "a"}}]}}',
        json.dumps(
            {
                "letsencrypt": {
                    "Certificates": [{"domain": {"main": "a"}, "certificate": "c2VjcmV0"}]
                }
            }
        ).encode(),
    ],
    ids=["half of it", "a page", "a list", "no certificate", "not a certificate"],
)
def test_what_is_no_such_file_is_said_without_a_word_of_it(content: bytes) -> None:
    with pytest.raises(ValueError, match="^it is not as Traefik writes it$") as refused:
        acme_json.read(content)
    assert refused.value.__cause__ is None
