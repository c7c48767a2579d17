"""Backups in a bucket: what is written is read again, the older ones stay, and trouble is told."""

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
    """A server of which only the bucket is there; what it holds is seen from outside."""
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


def held(client: Any) -> dict[str, bytes]:
    """All objects of the bucket."""
    listed = client.list_objects_v2(Bucket="backups").get("Contents", [])
    keys = [entry["Key"] for entry in listed]
    return {key: client.get_object(Bucket="backups", Key=key)["Body"].read() for key in keys}


def test_the_newest_and_four_older_are_kept_below_the_prefix(objects: Any) -> None:
    place = BucketBackups(TARGET, ACCOUNT)
    assert place.read(NAME) is None
    for number in range(8):
        place.write(NAME, str(number).encode())
        place.write("homelab-staging.age", b"s")
    assert place.read(NAME) == b"7"
    kept = {key: content for key, content in held(objects).items() if "production" in key}
    assert kept == {
        "castle/certificates/homelab-production.age": b"7",
        "castle/certificates/homelab-production.1.age": b"6",
        "castle/certificates/homelab-production.2.age": b"5",
        "castle/certificates/homelab-production.3.age": b"4",
        "castle/certificates/homelab-production.4.age": b"3",
    }


def test_a_bucket_that_is_not_there_is_told_and_not_taken_for_an_empty_one(objects: Any) -> None:
    place = BucketBackups("s3://other@home/", ACCOUNT)
    assert str(place) == "s3://other"
    told = "^s3://other/homelab-production.age cannot be .*: NoSuchBucket"
    with pytest.raises(BackupError, match=told):
        place.read(NAME)
    with pytest.raises(BackupError, match=told):
        place.write(NAME, b"x")


def test_a_server_that_is_silent_is_told_without_the_key() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # and does not listen
        port = server.getsockname()[1]
        account = ACCOUNT.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"})
        with pytest.raises(BackupError, match="cannot be read: Could not connect") as told:
            BucketBackups(TARGET, account).read(NAME)
    assert SECRET not in str(told.value)


def test_the_account_of_the_settings_is_used_and_no_other(
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
    assert b"{}" not in held(objects)["castle/certificates/homelab-production.age"]
    assert certificate_backup.read_certificates(settings) == {"acme.json": "{}"}
    objects.put_object(Bucket="backups", Key=f"castle/certificates/{NAME}", Body=b"torn")
    with pytest.raises(SettingsError, match="is damaged"):
        certificate_backup.read_certificates(settings)
    objects.delete_object(Bucket="backups", Key=f"castle/certificates/{NAME}")
    assert certificate_backup.read_certificates(settings) == {}
    for key in held(objects):
        objects.delete_object(Bucket="backups", Key=key)
    objects.delete_bucket(Bucket="backups")
    with pytest.raises(SettingsError) as refused:
        certificate_backup.read_certificates(settings)
    (problem,) = refused.value.problems
    assert "NoSuchBucket" in problem.reason and "sops.age_key" not in problem.fix
    assert SECRET not in str(refused.value)
