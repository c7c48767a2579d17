"""The certificate of Proxmox, read from servers on loopback."""

from __future__ import annotations

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
from doctor.findings import Result
from doctor.web import ServerCertificate

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
