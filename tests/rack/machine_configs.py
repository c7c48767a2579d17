"""Configurations of machines, as small as the rack accepts them."""

from __future__ import annotations

import base64
import dataclasses
import datetime
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from tests.e2e.rack.certificates import CertificateAuthority, KeyPair

VIP = "127.77.0.250"
SELECTOR = "!system_disk && disk.size >= 43u * GiB && disk.size < 44u * GiB"


def talos_authority() -> CertificateAuthority:
    """Make an Ed25519 authority, the kind that Talos has."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "talos")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    return CertificateAuthority(certificate, key)


def _service_account_key() -> bytes:
    """Make a key in the only format for elliptic curves that Kubernetes reads."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@dataclasses.dataclass(frozen=True)
class ClusterSecrets:
    """What all machines of a cluster share."""

    machine_ca: CertificateAuthority = dataclasses.field(default_factory=talos_authority)
    cluster_ca: CertificateAuthority = dataclasses.field(
        default_factory=lambda: CertificateAuthority.create("kubernetes")
    )

    service_account: bytes = dataclasses.field(default_factory=_service_account_key)

    @property
    def admin(self) -> KeyPair:
        """A client certificate."""
        return self.machine_ca.issue("admin", organization="os:admin")

    def config(
        self,
        kind: str,
        hostname: str,
        *,
        vip: str = "",
        selector: str = "",
        endpoint: str = f"https://{VIP}:6443",
        labels: dict[str, str] | None = None,
    ) -> bytes:
        """Write the configuration of a machine."""
        is_control_plane = kind == "controlplane"
        interfaces = [{"deviceSelector": {"physical": True}, "vip": {"ip": vip}}] if vip else []
        documents: list[dict[str, Any]] = [
            {
                "version": "v1alpha1",
                "machine": {
                    "type": kind,
                    "ca": _pair(self.machine_ca, with_key=is_control_plane),
                    "network": {"interfaces": interfaces},
                    "nodeLabels": labels or {},
                },
                "cluster": {
                    "clusterName": "castle",
                    "ca": _pair(self.cluster_ca, with_key=is_control_plane),
                    "controlPlane": {"endpoint": endpoint},
                    "serviceAccount": {"key": base64.b64encode(self.service_account).decode()},
                },
            },
            {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "hostname": hostname},
        ]
        if selector:
            documents.append(
                {
                    "apiVersion": "v1alpha1",
                    "kind": "UserVolumeConfig",
                    "name": "longhorn",
                    "provisioning": {"diskSelector": {"match": selector}},
                }
            )
        return yaml.safe_dump_all(documents).encode()


def _pair(authority: CertificateAuthority, *, with_key: bool) -> dict[str, str]:
    key = authority.key_pem.replace(b"PRIVATE KEY", b"ED25519 PRIVATE KEY")
    if not isinstance(authority.key, ed25519.Ed25519PrivateKey):
        key = authority.key_pem
    return {
        "crt": base64.b64encode(authority.pem).decode(),
        "key": base64.b64encode(key).decode() if with_key else "",
    }
