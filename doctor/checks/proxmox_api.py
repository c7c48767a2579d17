"""Check of the Proxmox API: it answers, its certificate is trusted, and it accepts the token."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from clients.proxmox.api import ProxmoxError
from doctor import web
from doctor.context import Context
from doctor.findings import Finding, failure, note, ok, warning
from settings.wording import count

CERTIFICATE_WARNING = timedelta(days=14)
"""A certificate that expires within this time is a warning: Proxmox renews it before that."""
RENEW = (
    "renew it: under System, Certificates if you uploaded or ordered it there, otherwise in a "
    "shell of the host: pvecm updatecerts --force && systemctl restart pveproxy"
)
"""The fix for a certificate that expires."""
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = (62, 64)
"""Error codes of OpenSSL (x509_vfy.h): X509_V_ERR_HOSTNAME_MISMATCH,
X509_V_ERR_IP_ADDRESS_MISMATCH."""


def check_api(context: Context) -> Iterator[Finding]:
    """Check the Proxmox API. Only the first failure is reported, because it causes the others."""
    server = context.settings.proxmoxve
    try:
        certificate = context.probes.certificate(server.endpoint)
    except OSError as error:
        yield failure(
            server.endpoint,
            f"does not answer: {web.reason(error)}",
            "check that the host is up, that proxmoxve:endpoint is its address (port 8006), and "
            "that this machine can reach its network",
        )
        return
    found = _check_certificate(certificate, server.insecure)
    yield found
    if certificate.problem and not server.insecure:
        return
    try:
        version = context.proxmox.version()
    except ProxmoxError as error:
        text = f"refuses the request: {error.status} {error.detail}"
        fix = "check the log of the host: journalctl -u pveproxy"
        if error.status is None:
            text = f"does not answer like Proxmox: {error.detail}"
            fix = "check that proxmoxve:endpoint is the address of a Proxmox host"
        elif error.status == HTTPStatus.UNAUTHORIZED:
            fix = "check the token, its expiry and its realm; enter it again with `make token`"
        yield failure(server.endpoint, text, fix)
    else:
        yield ok(server.endpoint, f"answers, and accepts the token; Proxmox VE {version}")


def _check_certificate(certificate: web.ServerCertificate, insecure: bool) -> Finding:
    if insecure:
        if not certificate.problem:
            return note(
                "certificate",
                "is trusted by this machine, so proxmoxve:insecure is not needed",
                "remove proxmoxve:insecure from the stack file",
            )
        return note(
            "certificate",
            f"is not checked, because proxmoxve:insecure is true ({certificate.problem}); its "
            f"fingerprint is {certificate.fingerprint}",
            "compare it once with the fingerprint that the host shows: System, Certificates",
        )
    if certificate.problem:
        return failure("certificate", f"is not trusted: {certificate.problem}", _fix(certificate))
    if (
        certificate.expires
        and (left := certificate.expires - datetime.now(UTC)) < CERTIFICATE_WARNING
    ):
        return warning(
            "certificate",
            f"expires in {count(left.days, 'day')}",
            RENEW,
        )
    return ok("certificate", f"is trusted, and expires on {certificate.expires:%Y-%m-%d}")


def _fix(certificate: web.ServerCertificate) -> str:
    if certificate.code == _EXPIRED:
        return RENEW
    if certificate.code == _NOT_YET_VALID:
        return "correct the clocks of this machine and of the host"
    if certificate.code in _OTHER_NAME:
        return "set proxmoxve:endpoint to a name that the certificate contains"
    return (
        f"compare the fingerprint {certificate.fingerprint} with the one that the host shows under "
        "System, Certificates; if they are the same, set proxmoxve:insecure: true"
    )
