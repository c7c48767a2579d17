"""Backups in a bucket: reading, writing, older backups and error messages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pyrage
import pytest
from pydantic import SecretStr

from backup.bucket import BucketStore
from backup.store import BackupError
from components.traefik import certificate_backup
from settings.backups import S3
from settings.models import Settings
from settings.problems import SettingsError
from tests.recorder import settings_with

SECRET = "5eed1e55cafe4bad8bad"
TARGET = "s3://backups@home/castle/certificates"
NAME = "homelab-production.age"
KEY = f"castle/certificates/{NAME}"


class FakeS3(ThreadingHTTPServer):
    """An S3 server on loopback with the buckets that are keys of ``objects``, both initially and
    after a test has changed them. It does not check signatures."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, dict[str, bytes]] = {"backups": {}}
        self.broken = False
        """Whether the server answers 502 without an error document, as a proxy does."""
        self.headers: list[dict[str, str]] = []
        """The headers of all requests."""

    @property
    def account(self) -> S3:
        return S3(
            endpoint=f"http://127.0.0.1:{self.server_port}",
            access_key="castle",
            secret_key=SecretStr(SECRET),
        )


class _Handler(BaseHTTPRequestHandler):
    server: FakeS3
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        bucket, key = self._path()
        if bucket is not None:
            content = bucket.get(key)
            self._answer(content) if content is not None else self._fail("NoSuchKey")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        bucket, key = self._path()
        if bucket is None:
            return
        source = self.headers.get("x-amz-copy-source")
        key_of_source = unquote(source or "").lstrip("/").partition("/")[2]
        if source and key_of_source not in bucket:
            self._fail("NoSuchKey")
        else:
            bucket[key] = bucket[key_of_source] if source else content
            self._answer(b"<CopyObjectResult></CopyObjectResult>" if source else b"")

    def _path(self) -> tuple[dict[str, bytes] | None, str]:
        """The objects of the bucket and the key; answers with an error if there is no bucket."""
        self.server.headers.append(dict(self.headers))
        bucket, _, key = unquote(self.path).lstrip("/").partition("/")
        if self.server.broken:
            self._send(502, b"proxy")
            return None, key
        if bucket not in self.server.objects:
            self._fail("NoSuchBucket")
        return self.server.objects.get(bucket), key

    def _answer(self, content: bytes) -> None:
        self._send(200, content)

    def _fail(self, code: str) -> None:
        self._send(404, f"<Error><Code>{code}</Code><Message>It is gone</Message></Error>".encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """A server that has only the empty bucket ``backups``."""
    with FakeS3() as fake:
        thread = threading.Thread(target=fake.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


def test_the_newest_and_four_older_backups_are_below_the_prefix(server: FakeS3) -> None:
    store = BucketStore(TARGET, server.account)
    assert store.read(NAME) is None
    for number in range(8):
        store.write(NAME, str(number).encode())
        store.write("homelab-staging.age", b"s")
    assert store.read(NAME) == b"7"
    objects = server.objects["backups"]
    assert {key: content for key, content in objects.items() if "production" in key} == {
        "castle/certificates/homelab-production.age": b"7",
        "castle/certificates/homelab-production.1.age": b"6",
        "castle/certificates/homelab-production.2.age": b"5",
        "castle/certificates/homelab-production.3.age": b"4",
        "castle/certificates/homelab-production.4.age": b"3",
    }


def test_without_a_prefix_the_backups_are_at_the_top_of_the_bucket(server: FakeS3) -> None:
    BucketStore("s3://backups@home/", server.account).write(NAME, b"x")
    assert server.objects["backups"] == {NAME: b"x"}


def test_a_missing_bucket_is_an_error_and_not_an_empty_store(server: FakeS3) -> None:
    store = BucketStore("s3://other@home/", server.account)
    assert str(store) == "s3://other"
    message = "^s3://other/homelab-production.age cannot be {}: NoSuchBucket: It is gone$"
    with pytest.raises(BackupError, match=message.format("read")):
        store.read(NAME)
    with pytest.raises(BackupError, match=message.format("written")):
        store.write(NAME, b"x")


def test_a_server_that_answers_no_s3_is_named_with_its_answer(server: FakeS3) -> None:
    server.broken = True
    endpoint = server.account.endpoint
    with pytest.raises(BackupError, match=f"cannot be read: {endpoint} answers 502 Bad Gateway$"):
        BucketStore(TARGET, server.account).read(NAME)


def test_the_error_for_a_server_that_does_not_answer_does_not_show_the_key(server: FakeS3) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        account = server.account.model_copy(update={"endpoint": endpoint})
        message = f"cannot be read: {endpoint} does not answer: Connection refused$"
        with pytest.raises(BackupError, match=message) as raised:
            BucketStore(TARGET, account).read(NAME)
    assert SECRET not in str(raised.value)


def test_only_the_account_of_the_settings_is_used(
    server: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENDPOINT_URL_S3", "ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-account")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_REGION", "elsewhere")
    BucketStore(TARGET, server.account).write(NAME, b"x")
    assert server.objects["backups"] == {KEY: b"x"}
    for headers in server.headers:
        authorization = {name.lower(): value for name, value in headers.items()}["authorization"]
        assert "Credential=castle/" in authorization and "/home/s3/" in authorization
        assert "of-another-account" not in str(headers)


@pytest.fixture
def settings(server: FakeS3, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with an age key and a target in the bucket."""
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)
    return settings_with(
        traefik={"acme": {"backup": {"target": TARGET}}},
        sops={"age_key": str(pyrage.x25519.Identity.generate())},
        s3={
            "endpoint": server.account.endpoint,
            "access_key": "castle",
            "secret_key": SECRET,
        },
    )


def test_certificates_are_restored_from_a_bucket(server: FakeS3, settings: Settings) -> None:
    assert settings.sops.age_key is not None
    sealed = certificate_backup.seal(b"{}", settings.sops.age_key.get_secret_value())
    certificate_backup.open_store(settings).write(NAME, sealed)
    assert certificate_backup.read_certificates(settings) == {"acme.json": "{}"}
    server.objects["backups"][KEY] = b"torn"
    with pytest.raises(SettingsError, match="is damaged"):
        certificate_backup.read_certificates(settings)
    del server.objects["backups"][KEY]
    assert certificate_backup.read_certificates(settings) == {}


def test_a_missing_bucket_is_a_wrong_setting(server: FakeS3, settings: Settings) -> None:
    server.objects.clear()
    with pytest.raises(SettingsError) as refused:
        certificate_backup.read_certificates(settings)
    (problem,) = refused.value.problems
    assert "NoSuchBucket" in problem.reason and "sops.age_key" not in problem.fix
    assert SECRET not in str(refused.value)
