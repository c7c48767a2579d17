"""Certificates of servers on loopback, and charts in a registry or a folder."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from doctor import web
from doctor.checks import proxmox_api
from doctor.checks.charts import _check_chart, _registry_has
from doctor.findings import Result
from doctor.web import ServerCertificate
from settings.chart_source import ChartSource

AUTHORITY = trustme.CA()


@contextmanager
def https(leaf: trustme.LeafCert) -> Iterator[str]:
    """Run a server with this certificate; yield its URL."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing if a client does not trust the server."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    server = Quiet(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust only ``AUTHORITY``."""
    file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


def read_certificate(leaf: trustme.LeafCert) -> ServerCertificate:
    with https(leaf) as url:
        return web.read_certificate(url)


def test_a_trusted_certificate_is_ok_with_its_expiry() -> None:
    end = datetime(2035, 1, 1, tzinfo=UTC)
    shown = read_certificate(AUTHORITY.issue_cert("127.0.0.1", not_after=end))
    assert (shown.problem, shown.expires) == ("", end)
    assert len(shown.fingerprint.split(":")) == 32
    finding = proxmox_api._check_certificate(shown, insecure=False)
    assert (finding.result, finding.text) == (
        Result.OK,
        "is trusted, and expires on 2035-01-01",
    )


def test_a_certificate_that_expires_soon_is_a_warning() -> None:
    end = datetime.now(UTC) + timedelta(days=3, hours=1)
    finding = proxmox_api._check_certificate(
        read_certificate(AUTHORITY.issue_cert("127.0.0.1", not_after=end)), insecure=False
    )
    assert (finding.result, finding.text) == (Result.WARNING, "expires in 3 days")


@pytest.mark.parametrize(
    ("leaf", "problem", "fix"),
    [
        (
            AUTHORITY.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)),
            "certificate has expired",
            "pvecm updatecerts --force",
        ),
        (AUTHORITY.issue_cert("pve.lan"), "IP address mismatch", "proxmoxve:endpoint"),
        (trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer", "insecure: true"),
    ],
    ids=["expired", "for another name", "of another authority"],
)
def test_an_untrusted_certificate_is_a_failure_unless_insecure_is_set(
    leaf: trustme.LeafCert, problem: str, fix: str
) -> None:
    shown = read_certificate(leaf)
    finding = proxmox_api._check_certificate(shown, insecure=False)
    assert finding.result is Result.FAILURE
    assert problem in finding.text and fix in finding.fix
    tolerated = proxmox_api._check_certificate(shown, insecure=True)
    assert tolerated.result is Result.NOTE
    assert problem in tolerated.text and shown.fingerprint in tolerated.text


def test_insecure_with_a_trusted_certificate_is_a_note() -> None:
    leaf = AUTHORITY.issue_cert("127.0.0.1")
    finding = proxmox_api._check_certificate(read_certificate(leaf), insecure=True)
    assert finding.result is Result.NOTE and "remove proxmoxve:insecure" in finding.fix


# Charts -------------------------------------------------------------------------------------------


CHART = ChartSource(name="traefik", version="41.3.0", repository="oci://registry.test/charts")


class Registry:
    """A fake public registry, which requires an anonymous token."""

    def __init__(self, *tags: str) -> None:
        self.tags = tags
        self.requests: list[str] = []

    def fetch(self, url: str, headers: Any = None) -> bytes:
        self.requests.append(url)
        if url.startswith("https://auth.test/token?"):
            return json.dumps({"token": "anonymous"}).encode()
        if (headers or {}).get("Authorization") != "Bearer anonymous":
            challenge = 'Bearer realm="https://auth.test/token",service="r",scope="pull"'
            raise self._refusal(url, 401, {"WWW-Authenticate": challenge})
        if url.rpartition("/")[2] not in self.tags:
            raise self._refusal(url, 404, {})
        return b"{}"

    def _refusal(self, url: str, code: int, headers: dict[str, str]) -> Exception:
        import email.message
        import io
        import urllib.error

        message = email.message.Message()
        for name, value in headers.items():
            message[name] = value
        return urllib.error.HTTPError(url, code, "no", message, io.BytesIO())


def test_a_chart_in_a_registry_is_found_with_an_anonymous_token() -> None:
    registry = Registry("41.3.0")
    assert _registry_has(CHART, registry.fetch)
    assert registry.requests == [
        "https://registry.test/v2/charts/traefik/manifests/41.3.0",
        "https://auth.test/token?service=r&scope=pull",
        "https://registry.test/v2/charts/traefik/manifests/41.3.0",
    ]


def test_a_chart_version_missing_in_a_registry_is_a_failure() -> None:
    (finding,) = _check_chart(CHART, "traefik", Registry("41.2.0").fetch)
    assert finding.result is Result.FAILURE and "is not in oci://" in finding.text


def test_a_registry_that_refuses_is_a_failure() -> None:
    def refuse(url: str, headers: Any = None) -> bytes:
        raise Registry()._refusal(url, 403, {})

    (finding,) = _check_chart(CHART, "traefik", refuse)
    assert "it answers 403 no" in finding.text


def test_an_invalid_index_is_a_failure() -> None:
    chart = ChartSource(name="traefik", version="41.3.0", repository="https://charts.test")
    for text in (b"<html>", b"{", b"entries: []", b"entries: {traefik: [{}]}"):
        (finding,) = _check_chart(chart, "traefik", lambda url, headers=None, text=text: text)
        assert finding.result is Result.FAILURE and "cannot be found, because" in finding.text


@pytest.mark.parametrize(("version", "result"), [("41.3.0", Result.OK), ("41.2.9", Result.WARNING)])
def test_another_chart_version_in_a_folder_is_a_warning(
    tmp_path: Path, version: str, result: Result
) -> None:
    (tmp_path / "traefik").mkdir()
    (tmp_path / "traefik" / "Chart.yaml").write_text(f"version: {version}")
    chart = ChartSource(name="traefik", version="41.3.0", repository=str(tmp_path))
    (finding,) = _check_chart(chart, "traefik", web.fetch)
    assert finding.result is result
