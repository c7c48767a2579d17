"""Reading ``acme.json``: names and dates are read, secrets are not, other files are refused."""

from __future__ import annotations

import json

import pytest

from backup import acme_json
from tests.backup.traefiks import BEGINS, ENDS, SERVERS, secrets_of
from tests.backup.traefiks import acme_json as written


def test_names_dates_and_servers_are_read_without_secrets() -> None:
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
def test_a_file_without_an_account_is_empty(content: bytes) -> None:
    assert not acme_json.read(content)


def test_a_file_with_only_an_account_is_not_empty() -> None:
    assert acme_json.read(written("production"))


@pytest.mark.parametrize(
    "content",
    [
        written("production", "tazlab.net")[
            :-300
        ],  # incomplete, because Traefik is writing the file
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
    ids=["incomplete", "HTML", "list", "no certificate", "invalid certificate"],
)
def test_another_file_is_refused_without_quoting_it(content: bytes) -> None:
    with pytest.raises(ValueError, match="^it is not a file that Traefik wrote$") as refused:
        acme_json.read(content)
    assert refused.value.__cause__ is None
