"""Certificate authorities as Talos makes them, but out of their names: the same in every run."""

from __future__ import annotations

import base64
import functools
import hashlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

_BEGIN, _END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
"""A rehearsal knows no time: what it signs with never ends."""


@functools.cache
def pair(name: str) -> tuple[str, str]:
    """Certificate and key of the authority ``talos`` (Ed25519) or any other (P-256).

    Both are base64 of PEM.
    """
    seed = hashlib.sha256(f"rehearsal {name}".encode()).digest()
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .serial_number(1)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
    )
    if name == "talos":
        own = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        certificate = builder.public_key(own.public_key()).sign(own, None)
        return _base64(certificate), _private(own)
    other = ec.derive_private_key(int.from_bytes(seed[:31]) + 1, ec.SECP256R1())
    certificate = builder.public_key(other.public_key()).sign(
        other, hashes.SHA256(), ecdsa_deterministic=True
    )
    return _base64(certificate), _private(other)


def _base64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode()


def _private(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return base64.b64encode(pem).decode()
