"""Backups in a bucket: reading, writing, older backups and error messages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import boto3
import pyrage
import pytest
from moto import mock_aws
from pydantic import SecretStr

from backup.bucket import BucketBackups
from backup.store import BackupError
from components.traefik import certificate_backup
from settings.backups import S3
from settings.problems import SettingsError
from tests.recorder import settings_with

ENDPOINT = "https://s3.tazlab.net"
SECRET = "5eed1e55cafe4bad8bad"
ACCOUNT = S3(endpoint=ENDPOINT, access_key="castle", secret_key=SecretStr(SECRET))
TARGET = "s3://backups@home/castle/certificates"
NAME = "homelab-production.age"


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a simulated S3 server, which has only the empty bucket ``backups``."""
    monkeypatch.setenv("MOTO_S3_CUSTOM_ENDPOINTS", ENDPOINT)
    with mock_aws():
        client = boto3.client(
            "s3",
            endpoint_url=ENDPOINT,
            region_name="us-east-1",
            aws_access_key_id="somebody",
            aws_secret_access_key="else",
        )
        client.create_bucket(Bucket="backups")
        yield client


def contents(client: Any) -> dict[str, bytes]:
    """Content of all objects of the bucket, by key."""
    listed = client.list_objects_v2(Bucket="backups").get("Contents", [])
    keys = [entry["Key"] for entry in listed]
    return {key: client.get_object(Bucket="backups", Key=key)["Body"].read() for key in keys}


def test_the_newest_and_four_older_backups_are_below_the_prefix(objects: Any) -> None:
    store = BucketBackups(TARGET, ACCOUNT)
    assert store.read(NAME) is None
    for number in range(8):
        store.write(NAME, str(number).encode())
        store.write("homelab-staging.age", b"s")
    assert store.read(NAME) == b"7"
    found = {key: content for key, content in contents(objects).items() if "production" in key}
    assert found == {
        "castle/certificates/homelab-production.age": b"7",
        "castle/certificates/homelab-production.1.age": b"6",
        "castle/certificates/homelab-production.2.age": b"5",
        "castle/certificates/homelab-production.3.age": b"4",
        "castle/certificates/homelab-production.4.age": b"3",
    }


def test_a_missing_bucket_is_an_error_and_not_an_empty_store(objects: Any) -> None:
    store = BucketBackups("s3://other@home/", ACCOUNT)
    assert str(store) == "s3://other"
    message = "^s3://other/homelab-production.age cannot be .*: NoSuchBucket"
    with pytest.raises(BackupError, match=message):
        store.read(NAME)
    with pytest.raises(BackupError, match=message):
        store.write(NAME, b"x")


def test_the_error_for_a_server_that_does_not_answer_does_not_show_the_key() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # and does not listen
        port = server.getsockname()[1]
        account = ACCOUNT.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"})
        with pytest.raises(BackupError, match="cannot be read: Could not connect") as raised:
            BucketBackups(TARGET, account).read(NAME)
    assert SECRET not in str(raised.value)


def test_only_the_credentials_of_the_settings_are_used(
    objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-another-program")
    key = str(pyrage.x25519.Identity.generate())
    settings = settings_with(
        traefik={"acme": {"backup": {"target": TARGET}}},
        sops={"age_key": key},
        s3={"endpoint": ENDPOINT, "access_key": "castle", "secret_key": SECRET},
    )
    place = certificate_backup.open_store(settings)
    assert isinstance(place, BucketBackups)
    credentials = place._client._request_signer._credentials
    assert (credentials.access_key, credentials.secret_key) == ("castle", SECRET)
    place.write(NAME, certificate_backup.seal(b"{}", key))
    assert b"{}" not in contents(objects)["castle/certificates/homelab-production.age"]
    assert certificate_backup.read_certificates(settings) == {"acme.json": "{}"}
    objects.put_object(Bucket="backups", Key=f"castle/certificates/{NAME}", Body=b"torn")
    with pytest.raises(SettingsError, match="is damaged"):
        certificate_backup.read_certificates(settings)
    objects.delete_object(Bucket="backups", Key=f"castle/certificates/{NAME}")
    assert certificate_backup.read_certificates(settings) == {}
    for key in contents(objects):
        objects.delete_object(Bucket="backups", Key=key)
    objects.delete_bucket(Bucket="backups")
    with pytest.raises(SettingsError) as refused:
        certificate_backup.read_certificates(settings)
    (problem,) = refused.value.problems
    assert "NoSuchBucket" in problem.reason and "sops.age_key" not in problem.fix
    assert SECRET not in str(refused.value)
