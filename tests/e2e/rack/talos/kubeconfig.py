"""Kubeconfigs: the one that a control plane hands out, and those of Kubernetes' own programs."""

from __future__ import annotations

import base64
import gzip
import io
import tarfile

import yaml

from ..certificates import CertificateAuthority, KeyPair
from .config import MachineConfig

_ADMIN = "admin"
_ADMINS = "system:masters"


def admin_certificate(config: MachineConfig) -> KeyPair:
    """Sign an administrator's certificate with the cluster's authority."""
    pair = config.cluster_ca
    authority = CertificateAuthority.load(pair.certificate, pair.key)
    return authority.issue(_ADMIN, organization=_ADMINS)


def kubeconfig(config: MachineConfig, client: KeyPair, user: str = _ADMIN) -> str:
    """Write the kubeconfig of a client of the cluster."""
    name = f"{user}@{config.cluster_name}"
    cluster = {
        "server": config.endpoint,
        "certificate-authority-data": _base64(config.cluster_ca.certificate),
    }
    credentials = {
        "client-certificate-data": _base64(client.certificate),
        "client-key-data": _base64(client.key),
    }
    context = {"cluster": config.cluster_name, "namespace": "default", "user": name}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": config.cluster_name, "cluster": cluster}],
        "users": [{"name": name, "user": credentials}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)


def archive(text: str) -> bytes:
    """Pack a kubeconfig as the API streams it: one file in a compressed archive (C1)."""
    data = text.encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("kubeconfig")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
