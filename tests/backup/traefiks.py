"""Test data: ``acme.json`` files in Traefik's format, with self-signed certificates."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVERS = {
    "staging": "acme-staging-v02.api.letsencrypt.org",
    "production": "acme-v02.api.letsencrypt.org",
}
BEGINS = datetime(2026, 11, 1, tzinfo=UTC)
ENDS = BEGINS + timedelta(days=90)
PEM = serialization.Encoding.PEM


def acme_json(server: str, *names: str, at: str = "") -> bytes:
    """An ``acme.json`` with an account and one certificate for each of ``names``.

    A name such as ``tazlab.net *.tazlab.net`` is one certificate with two host names. The account
    is at the server ``at``, by default at ``server``.
    """
    key = _text(ec.generate_private_key(ec.SECP256R1()))
    account = {
        "Email": "me@tazlab.net",
        "Registration": {
            "body": {"status": "valid", "contact": ["mailto:me@tazlab.net"]},
            "uri": f"https://{SERVERS[at or server]}/acme/acct/1234567",
        },
        "PrivateKey": key,
        "KeyType": "4096",
    }
    content = {"letsencrypt": {"Account": account, "Certificates": [_signed(n) for n in names]}}
    # Traefik indents by two. A backup must also preserve the newline at the end.
    return json.dumps(content, indent=2).encode() + b"\n"


def secrets_of(content: bytes) -> list[str]:
    """The private keys in a file: of the account and of each certificate."""
    resolver = json.loads(content)["letsencrypt"]
    return [resolver["Account"]["PrivateKey"], *(it["key"] for it in resolver["Certificates"])]


def _signed(names: str) -> dict[str, object]:
    name, *sans = names.split()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINS)
        .not_valid_after(ENDS)
        .sign(key, hashes.SHA256())
    )
    return {
        "domain": {"main": name, **({"sans": sans} if sans else {})},
        "certificate": base64.b64encode(certificate.public_bytes(PEM)).decode(),
        "key": _text(key),
        "Store": "default",
    }


def _text(key: ec.EllipticCurvePrivateKey) -> str:
    pem = key.private_bytes(
        PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return base64.b64encode(pem).decode()
