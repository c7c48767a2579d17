"""What the rack signs is what Python, of any version, believes."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.rack.certificates import CertificateAuthority


def authority_of_talos() -> CertificateAuthority:
    """One that calls its key by a word of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.UTC)
    usage = {"digital_signature", "key_cert_sign"}
    others = (
        *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("crl_sign", "encipher_only", "decipher_only"),
    )
    certificate = (
        x509.CertificateBuilder()
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(b"a word of its own"), critical=False)
        .add_extension(
            x509.KeyUsage(**dict.fromkeys(usage, True), **dict.fromkeys(others, False)),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return CertificateAuthority.load(certificate.public_bytes(serialization.Encoding.PEM), pem)


@pytest.mark.parametrize("make", [lambda: CertificateAuthority.create("rack"), authority_of_talos])
def test_a_leaf_is_believed_as_strictly_as_can_be(
    make: Callable[[], CertificateAuthority], tmp_path: Path
) -> None:
    authority = make()
    leaf = authority.issue("castle", hosts=["castle.test"])
    (tmp_path / "leaf.pem").write_bytes(leaf.certificate + leaf.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "leaf.pem")
    client = ssl.create_default_context(cadata=authority.pem.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert shaken(server, client, "castle.test")


def shaken(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Whether both ends agree, without a socket; raises what the client has against it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near.version() is not None and near.getpeercert() is not None
