"""An administrator's credentials for Talos and Kubernetes, signed by the cluster's authorities.

They are computed, not kept: the same authority and the same days give the same certificate, byte
for byte, so that every run has the one that is current, a preview knows it as well as an `up`, and
it matters to nobody how long ago the last `up` was. The talos provider's resources keep theirs in
the state and renew them in the last month only; in a preview they are unknown then, and all that
lives in the cluster shows as changed. Its newer, ephemeral resources compute them just so
(siderolabs/terraform-provider-talos v0.11.0 talos_cluster_kubeconfig_ephemeral_resource.go).

Leaves out the authorities themselves: those are Talos' machine secrets, and live for ten years.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=365)
"""How long credentials that people are given are good."""
RENEWAL = timedelta(days=180)
"""How often they are made anew: after any `up` they are good for half a year and more."""
_ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of the curve P-256: a private key is a number below it (FIPS 186-5)."""

_Key: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class AuthorityEndedError(Exception):
    """The authority that would sign is at its end; one sentence says since when."""


@dataclass(frozen=True)
class Days:
    """From when to when a certificate is good."""

    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Client:
    """A client's side of mutual TLS: base64 of PEM each, as the providers have it."""

    ca_certificate: str
    client_certificate: str
    client_key: str


class Authority:
    """A certificate authority of the cluster: Talos' (Ed25519) or Kubernetes' (P-256)."""

    def __init__(self, certificate: str, key: str) -> None:
        """Both are base64 of PEM, as machine secrets hold them."""
        self._text = certificate
        self._certificate = x509.load_pem_x509_certificate(base64.b64decode(certificate))
        self._key_pem = base64.b64decode(key)
        # Talos writes "ED25519 PRIVATE KEY" over what everybody else calls "PRIVATE KEY".
        pem = self._key_pem.replace(b"ED25519 PRIVATE KEY", b"PRIVATE KEY")
        key_of = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key_of, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
            raise TypeError(f"unexpected kind of key: {type(key_of).__name__}")
        self._key: _Key = key_of

    @property
    def life(self) -> Days:
        """From when to when the authority itself is good."""
        found = self._certificate
        return Days(found.not_valid_before_utc, found.not_valid_after_utc)

    @property
    def current(self) -> Days:
        """The days of credentials that are made now: each ``RENEWAL``, counted from the cluster's
        birth, is a new beginning. Raises ``AuthorityEndedError``."""
        now = datetime.fromtimestamp(time.time(), UTC)
        if now >= self.life.end:
            raise AuthorityEndedError(
                f"The cluster's certificate authorities ended on {self.life.end:%Y-%m-%d}: nothing "
                "can be signed with them any more. Take the castle down and build it anew."
            )
        begin = self.life.begin + (now - self.life.begin) // RENEWAL * RENEWAL
        return Days(begin, min(begin + LIFE, self.life.end))

    def admin_of_talos(self, days: Days) -> Client:
        """Credentials for Talos, as its own ``talosctl gen config`` makes them."""
        key = ed25519.Ed25519PrivateKey.from_private_bytes(self._stream("talos", days)[:32])
        return self._client([(NameOID.ORGANIZATION_NAME, "os:admin")], key, "talos", days)

    def admin_of_kubernetes(self, days: Days) -> Client:
        """Credentials for Kubernetes, as Talos' own kubeconfig has them."""
        number = int.from_bytes(self._stream("kubernetes", days)[:48]) % (_ORDER_P256 - 1) + 1
        key = ec.derive_private_key(number, ec.SECP256R1())
        names = [(NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, "admin")]
        return self._client(names, key, "kubernetes", days)

    def _stream(self, purpose: str, days: Days) -> bytes:
        """Bytes that nobody without the authority's key can know: 48 for a key, 16 for a serial."""
        told = f"{purpose}:{days.begin.isoformat()}:{days.end.isoformat()}"
        derive = HKDF(hashes.SHA256(), 64, b"ephemeral-castle-admin-v1", told.encode())
        return derive.derive(self._key_pem)

    def _client(
        self, names: list[tuple[x509.ObjectIdentifier, str]], key: _Key, purpose: str, days: Days
    ) -> Client:
        serial = int.from_bytes(self._stream(purpose, days)[48:]) >> 1 | 1  # positive (RFC 5280)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in names]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(days.begin)
            .not_valid_after(days.end)
            .add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        certificate = (
            builder.sign(self._key, None)
            if isinstance(self._key, ed25519.Ed25519PrivateKey)
            else builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Client(
            ca_certificate=self._text,
            client_certificate=_base64(certificate.public_bytes(serialization.Encoding.PEM)),
            client_key=_base64(private),
        )

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        """What a leaf calls the authority's key: the authority's own word for it, if it has one."""
        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


@dataclass(frozen=True)
class Given:
    """What the cluster gives to people, and to those parts of the program that ask Kubernetes."""

    kubernetes: Client
    talos: Client
    kubeconfig: str
    access: str
    """A kubeconfig for this program alone, as long as the authority is good: see ``own``."""
    ends: Mapping[str, str]
    """When they end: ``kubeconfig``, ``talosconfig``, and the ``authorities`` that sign both."""


def given(certs: Any, cluster: str, endpoint: str) -> Given:
    """The credentials that are current now.

    ``certs`` are those of the machine secrets, ``endpoint`` is ``https://VIP:6443``. Raises
    ``AuthorityEndedError``.
    """
    of_talos = Authority(certs.os.cert, certs.os.key)
    of_kubernetes = Authority(certs.k8s.cert, certs.k8s.key)
    kubernetes = of_kubernetes.admin_of_kubernetes(of_kubernetes.current)
    ends = {
        "kubeconfig": of_kubernetes.current.end,
        "talosconfig": of_talos.current.end,
        "authorities": min(of_talos.life.end, of_kubernetes.life.end),
    }
    return Given(
        kubernetes=kubernetes,
        talos=of_talos.admin_of_talos(of_talos.current),
        kubeconfig=kubeconfig(cluster, endpoint, kubernetes),
        access=kubeconfig(cluster, endpoint, of_kubernetes.admin_of_kubernetes(of_kubernetes.life)),
        ends={name: f"{end:%Y-%m-%dT%H:%M:%SZ}" for name, end in ends.items()},
    )


def ends_of(stack: Mapping[str, Any]) -> dict[str, datetime]:
    """When they end, by the names of ``Given.ends``, as the ``pulumi:pulumi:Stack`` of a state
    tells; nothing of any other resource."""
    if stack.get("type") != "pulumi:pulumi:Stack":
        return {}
    told = (stack.get("outputs") or {}).get("certificates")
    if not isinstance(told, Mapping):
        return {}
    return {name: datetime.fromisoformat(str(end)) for name, end in told.items()}


def own(certs: Any) -> Client:
    """What the program itself asks Talos with: good for as long as the authority.

    Its key stands beside the authority's in the state, encrypted as that is, and goes nowhere else.
    A removal has its credentials from the state, however old that is: they must not end before.
    """
    authority = Authority(certs.os.cert, certs.os.key)
    return authority.admin_of_talos(authority.life)


def kubeconfig(cluster: str, endpoint: str, client: Client) -> str:
    """A kubeconfig with the names that Talos gives; ``endpoint`` is ``https://VIP:6443``."""
    user = f"admin@{cluster}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {
                    "server": endpoint,
                    "certificate-authority-data": client.ca_certificate,
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": client.client_certificate,
                    "client-key-data": client.client_key,
                },
            }
        ],
        "contexts": [
            {"name": user, "context": {"cluster": cluster, "namespace": "default", "user": user}}
        ],
        "current-context": user,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
