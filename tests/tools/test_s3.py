"""The bucket store with a real S3 server, which has a certificate of a private CA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from backup.bucket import BucketStore
from backup.store import BackupError
from settings.backups import S3
from tests.e2e import s3_server

SECRET = "5eed1e55cafe4bad8bad"
TARGET = f"s3://certificates@{s3_server.REGION}/castle"
pytestmark = pytest.mark.skipif(bool(s3_server.missing()), reason=s3_server.missing())


@pytest.fixture
def account(tmp_path: Path) -> Iterator[S3]:
    with s3_server.served(tmp_path, SECRET, "certificates") as storage:
        yield S3(
            endpoint=storage.endpoint,
            access_key=s3_server.ACCESS_KEY,
            secret_key=SecretStr(SECRET),
            certificate=storage.certificate,
        )


def test_backups_are_written_and_rotated(account: S3) -> None:
    store = BucketStore(TARGET, account)
    assert store.read("a.age") is None
    for content in (b"1", b"2", b"3"):
        store.write("a.age", content)
    assert [store.read(name) for name in ("a.age", "a.1.age", "a.2.age", "a.3.age")] == [
        *(b"3", b"2", b"1"),
        None,
    ]


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        (TARGET, {"secret_key": SecretStr("of-another")}, "SignatureDoesNotMatch: The request"),
        (TARGET, {"certificate": None}, r"is refused \(UnknownIssuer\); .* set s3\.certificate"),
        ("s3://another@home/", {}, "NoSuchBucket: The specified bucket does not exist"),
    ],
)
def test_a_refusal_has_its_reason_and_no_secret(
    account: S3, target: str, changes: dict[str, object], message: str
) -> None:
    store = BucketStore(target, account.model_copy(update=changes))
    with pytest.raises(BackupError, match=f"cannot be read: .*{message}") as refused:
        store.read("a.age")
    with pytest.raises(BackupError, match=f"cannot be written: .*{message}"):
        store.write("a.age", b"x")
    assert SECRET not in str(refused.value) and "of-another" not in str(refused.value)
