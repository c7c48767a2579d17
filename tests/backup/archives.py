"""Test data: archives with a made-up snapshot and made-up machine secrets."""

from __future__ import annotations

import hashlib

import pyrage
import yaml

from backup.etcd_archive import Archive, secrets_of

KEY = pyrage.x25519.Identity.generate()
RECIPIENT = str(KEY.to_public())
PAIR = {"crt": "Q0VSVA==", "key": "S0VZ"}
CONFIG = {
    "machine": {"token": "machine-token", "ca": {"crt": "T1M=", "key": "T1NLRVk="}},
    "cluster": {
        "id": "id",
        "secret": "cluster-secret",
        "token": "abc.def",
        "secretboxEncryptionSecret": "secretbox-secret",
        "ca": PAIR,
        "aggregatorCA": PAIR,
        "serviceAccount": {"key": "U0E="},
        "etcd": {"ca": PAIR},
        "apiServer": {"image": "registry.k8s.io/kube-apiserver:v1.36.3"},
    },
}
"""The part of a control plane's machine config that contains the machine secrets."""
BODY = b"etcd's own pages " * 100
SNAPSHOT = BODY + hashlib.sha256(BODY).digest()


def archive(kubernetes: str = "v1.36.3") -> Archive:
    """An archive that this Kubernetes version wrote."""
    return Archive(etcd=SNAPSHOT, secrets=secrets_of(CONFIG), kubernetes=kubernetes)


def talos_bundle() -> dict[str, object]:
    """The parsed secrets bundle of ``archive()``."""
    found: dict[str, object] = yaml.safe_load(archive().secrets)
    return found
