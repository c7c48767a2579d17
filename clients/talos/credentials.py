"""Computes admin credentials for Talos and Kubernetes, signed by the cluster's CAs.

The same CA and validity give the same certificate, byte for byte. So no resource stores
credentials, every run has valid ones, and a preview knows them. The Talos provider's resources
store credentials in the state and renew them only in the last month; in that preview they are
unknown, and everything in the cluster shows as changed. The provider's newer ephemeral resources
compute them in the same way (siderolabs/terraform-provider-talos v0.11.0
talos_cluster_kubeconfig_ephemeral_resource.go).

The CAs are part of the Talos machine secrets and valid for ten years.
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

from clients.tls import ClientCredentials

LIFE = timedelta(days=365)
"""Validity of the credentials for users."""
RENEWAL = timedelta(days=180)
"""Interval of renewals. After each ``up`` the credentials are valid for 185 days or more."""
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of the group of the curve P-256: a private key is a positive number below it
(FIPS 186-5)."""

_Key: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class AuthorityEndedError(Exception):
    """The CA has expired. The message has the date and the fix."""


@dataclass(frozen=True)
class Days:
    """The validity of a certificate."""

    begin: datetime
    """``notBefore``."""
    end: datetime
    """``notAfter``."""


class Authority:
    """A CA of the cluster: that of Talos (Ed25519) or that of Kubernetes (P-256)."""

    def __init__(self, certificate: str, key: str) -> None:
        """Both are PEM in base64, as in the machine secrets."""
        self._text = certificate
        self._certificate = x509.load_pem_x509_certificate(base64.b64decode(certificate))
        self._key_pem = base64.b64decode(key)
        # Talos writes the PEM header "ED25519 PRIVATE KEY" instead of the standard "PRIVATE KEY".
        pem = self._key_pem.replace(b"ED25519 PRIVATE KEY", b"PRIVATE KEY")
        private_key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private_key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
            raise TypeError(f"unexpected kind of key: {type(private_key).__name__}")
        self._key: _Key = private_key

    @property
    def life(self) -> Days:
        """The validity of the CA certificate."""
        ca = self._certificate
        return Days(ca.not_valid_before_utc, ca.not_valid_after_utc)

    @property
    def current(self) -> Days:
        """The validity of credentials that are computed now. It begins at the last multiple of
        ``RENEWAL`` after the creation of the CA. Raises ``AuthorityEndedError``."""
        now = datetime.fromtimestamp(time.time(), UTC)
        if now >= self.life.end:
            raise AuthorityEndedError(
                f"A CA of the cluster expired on {self.life.end:%Y-%m-%d}, so no credentials can "
                "be signed. Run `make down`, then `make up`, which creates a new cluster."
            )
        begin = self.life.begin + (now - self.life.begin) // RENEWAL * RENEWAL
        return Days(begin, min(begin + LIFE, self.life.end))

    def admin_of_talos(self, days: Days) -> ClientCredentials:
        """Admin credentials for Talos, like those of ``talosctl gen config``."""
        key = ed25519.Ed25519PrivateKey.from_private_bytes(self._stream("talos", days)[:32])
        return self._client([(NameOID.ORGANIZATION_NAME, "os:admin")], key, "talos", days)

    def admin_of_kubernetes(self, days: Days) -> ClientCredentials:
        """Admin credentials for Kubernetes, like those in a kubeconfig of Talos."""
        number = int.from_bytes(self._stream("kubernetes", days)[:48]) % (_P256_ORDER - 1) + 1
        key = ec.derive_private_key(number, ec.SECP256R1())
        names = [(NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, "admin")]
        return self._client(names, key, "kubernetes", days)

    def _stream(self, purpose: str, days: Days) -> bytes:
        """64 bytes derived from the CA key: 48 for a private key, 16 for a serial number."""
        info = f"{purpose}:{days.begin.isoformat()}:{days.end.isoformat()}"
        derive = HKDF(hashes.SHA256(), 64, b"ephemeral-castle-admin-v1", info.encode())
        return derive.derive(self._key_pem)

    def _client(
        self, names: list[tuple[x509.ObjectIdentifier, str]], key: _Key, purpose: str, days: Days
    ) -> ClientCredentials:
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
        return ClientCredentials(
            ca_certificate=self._text,
            client_certificate=_base64(certificate.public_bytes(serialization.Encoding.PEM)),
            client_key=_base64(private),
        )

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        """The key identifier of the CA: from its certificate, or computed if it has none."""
        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


@dataclass(frozen=True)
class ClusterCredentials:
    """The credentials of a cluster that are valid now."""

    kubernetes: ClientCredentials
    """Admin credentials for Kubernetes."""
    talos: ClientCredentials
    """Admin credentials for Talos."""
    kubeconfig: str
    """Kubeconfig for users (YAML)."""
    internal_kubeconfig: str
    """Kubeconfig for this program only, valid as long as the CA (see ``issue_internal``)."""
    ends: Mapping[str, str]
    """Expiry times (ISO 8601) of ``kubeconfig``, ``talosconfig`` and the ``authorities`` (CAs)."""


def issue_admin(certs: Any, cluster: str, endpoint: str) -> ClusterCredentials:
    """Compute the credentials that are valid now.

    ``certs`` are the ``certs`` of the machine secrets; ``endpoint`` is ``https://VIP:6443``. Raises
    ``AuthorityEndedError``.
    """
    talos_ca = Authority(certs.os.cert, certs.os.key)
    kubernetes_ca = Authority(certs.k8s.cert, certs.k8s.key)
    kubernetes = kubernetes_ca.admin_of_kubernetes(kubernetes_ca.current)
    ends = {
        "kubeconfig": kubernetes_ca.current.end,
        "talosconfig": talos_ca.current.end,
        "authorities": min(talos_ca.life.end, kubernetes_ca.life.end),
    }
    return ClusterCredentials(
        kubernetes=kubernetes,
        talos=talos_ca.admin_of_talos(talos_ca.current),
        kubeconfig=kubeconfig(cluster, endpoint, kubernetes),
        internal_kubeconfig=kubeconfig(
            cluster, endpoint, kubernetes_ca.admin_of_kubernetes(kubernetes_ca.life)
        ),
        ends={name: f"{end:%Y-%m-%dT%H:%M:%SZ}" for name, end in ends.items()},
    )


def ends_of(stack: Mapping[str, Any]) -> dict[str, datetime]:
    """The expiry times in the stack outputs, by the names of ``ClusterCredentials.ends``.

    ``stack`` is a resource in the state; the result is empty for any other than the stack itself.
    """
    if stack.get("type") != "pulumi:pulumi:Stack":
        return {}
    ends = (stack.get("outputs") or {}).get("certificates")
    if not isinstance(ends, Mapping):
        return {}
    return {name: datetime.fromisoformat(str(end)) for name, end in ends.items()}


def issue_internal(certs: Any) -> ClientCredentials:
    """Talos credentials for this program only, valid as long as the CA.

    A delete uses the credentials in the state, however old, so they must not expire before the CA.
    They are stored only in the state, encrypted, like the key of the CA itself.
    """
    authority = Authority(certs.os.cert, certs.os.key)
    return authority.admin_of_talos(authority.life)


def kubeconfig(cluster: str, endpoint: str, client: ClientCredentials) -> str:
    """A kubeconfig (YAML) with the same names as one of Talos; ``endpoint`` is
    ``https://VIP:6443``."""
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
