"""A Pulumi state with generated certificates, in the format of ``pulumi stack export``."""

from __future__ import annotations

import base64
import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

_ISO = "%Y-%m-%dT%H:%M:%SZ"
NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


def state_of(days: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The resources of a state, and the secrets in them.

    The first certificate expires in ``days`` days, each further one a day later. The secrets are
    not encrypted, unlike in a real state, so that a test finds a secret that the report copies.
    """
    pairs = [_create_pair(days + more) for more in range(6)]
    (_, kube_key), (_, talos_key), *cas = pairs
    names = ("k8s", "k8sAggregator", "etcd", "os")
    certs = {name: {"cert": cert, "key": key} for name, (cert, key) in zip(names, cas, strict=True)}
    resources = [
        {
            "type": "pulumi:pulumi:Stack",
            "outputs": {
                "kubeconfig": kube_key,
                "certificates": {
                    name: f"{NOW + datetime.timedelta(days=days + more, hours=1):{_ISO}}"
                    for more, name in enumerate(("kubeconfig", "talosconfig"))
                },
            },
        },
        {
            "type": "talos:machine/secrets:Secrets",
            "outputs": {
                "clientConfiguration": {"clientKey": talos_key},
                "machineSecrets": {"certs": certs, "cluster": {"secret": "a-cluster-secret"}},
            },
        },
    ]
    return resources, [*(key for _, key in pairs), "a-cluster-secret"]


def _create_pair(days: int) -> tuple[str, str]:
    """A certificate that expires ``days`` days after ``NOW``, and its key: PEM in base64."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "castle")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=100))
        .not_valid_after(NOW + datetime.timedelta(days=days, hours=1))
        .sign(key, None)
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return base64.b64encode(pem).decode(), base64.b64encode(private).decode()
