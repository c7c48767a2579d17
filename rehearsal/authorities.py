"""Creates certificate authorities like those of Talos. They depend on their name only, so they are
the same in every run."""

from __future__ import annotations

import base64
import functools
import hashlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

_NOT_BEFORE, _NOT_AFTER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
"""Fixed dates: the certificates are valid in every run."""


@functools.cache
def pair(name: str) -> tuple[str, str]:
    """Return certificate and private key of an authority, each as base64 of PEM.

    The authority ``talos`` has an Ed25519 key, every other one a P-256 key.
    """
    seed = hashlib.sha256(f"rehearsal {name}".encode()).digest()
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .serial_number(1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )
    if name == "talos":
        ed25519_key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        certificate = builder.public_key(ed25519_key.public_key()).sign(ed25519_key, None)
        return _encode_certificate(certificate), _encode_key(ed25519_key)
    ec_key = ec.derive_private_key(int.from_bytes(seed[:31]) + 1, ec.SECP256R1())
    certificate = builder.public_key(ec_key.public_key()).sign(
        ec_key, hashes.SHA256(), ecdsa_deterministic=True
    )
    return _encode_certificate(certificate), _encode_key(ec_key)


def _encode_certificate(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode()


def _encode_key(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return base64.b64encode(pem).decode()
