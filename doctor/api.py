"""Proxmox itself: does it answer, is its certificate what it should be, does it know the token?"""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from clients.proxmox import api as proxmox_api
from doctor import web
from doctor.context import Context
from doctor.findings import Finding, failure, note, ok, warning
from settings.wording import count

SOON = timedelta(days=14)
"""A certificate that ends within this time should have been renewed by now."""
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = (62, 64)
"""OpenSSL's numbers (x509_vfy.h): X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""


def check(context: Context) -> Iterator[Finding]:
    """One failure at most, as each would cause the next."""
    server = context.settings.proxmoxve
    try:
        shown = context.probes.certificate(server.endpoint)
    except OSError as error:
        yield failure(
            server.endpoint,
            f"does not answer: {web.reason(error)}",
            "check that the host is up, that proxmoxve:endpoint is its address (port 8006), and "
            "that this machine is in its network",
        )
        return
    found = _certificate(shown, server.insecure)
    yield found
    if shown.problem and not server.insecure:
        return
    try:
        version = context.proxmox.version()
    except urllib.error.HTTPError as error:
        fix = "look at the log of the host: journalctl -u pveproxy"
        if error.code == 401:
            fix = "check the token, its end and its realm; put it in again with `make token`"
        yield failure(server.endpoint, f"refuses: {error.code} {error.reason}", fix)
    except proxmox_api.FAILURES as error:
        yield failure(
            server.endpoint,
            f"does not answer as Proxmox does: {web.reason(error)}",
            "check that proxmoxve:endpoint is the address of a Proxmox host",
        )
    else:
        yield ok(server.endpoint, f"answers, and knows the token; Proxmox VE {version}")


def _certificate(shown: web.Certificate, insecure: bool) -> Finding:
    if insecure:
        if not shown.problem:
            return note(
                "certificate", "is trusted here", "proxmoxve:insecure can go from the stack file"
            )
        return note(
            "certificate",
            f"is not checked, as proxmoxve:insecure is true ({shown.problem}); its fingerprint is "
            f"{shown.fingerprint}",
            "once, compare it with the one that the host shows: System, Certificates",
        )
    if shown.problem:
        return failure("certificate", f"is not trusted: {shown.problem}", _cure(shown))
    if shown.expires and (left := shown.expires - datetime.now(UTC)) < SOON:
        return warning(
            "certificate",
            f"ends in {count(left.days, 'day')}",
            "renew it: System, Certificates; or pvecm updatecerts --force",
        )
    return ok("certificate", f"is trusted, until {shown.expires:%Y-%m-%d}")


def _cure(shown: web.Certificate) -> str:
    if shown.code == _EXPIRED:
        return "renew it in a shell of the host: pvecm updatecerts --force"
    if shown.code == _NOT_YET_VALID:
        return "set the clocks of this machine and of the host right"
    if shown.code in _OTHER_NAME:
        return "write a name in proxmoxve:endpoint that the certificate is made for"
    return (
        "if the host shows the same fingerprint under System, Certificates, set "
        f"proxmoxve:insecure: true: {shown.fingerprint}"
    )
