"""The archive of a cluster: an etcd snapshot and the machine secrets that belong to it.

A cluster with new machine secrets cannot use a snapshot alone: these secrets encrypt the Kubernetes
Secrets in etcd, sign service accounts and admit nodes. So both are in one file, a tar of
``etcd.db``, ``secrets.yaml`` (in the format of ``talosctl gen secrets``) and ``castle.json`` (the
Kubernetes version). The tar is encrypted with age and never on a disk in plain text.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

import pyrage
import yaml

_DATABASE, _SECRETS, _METADATA = "etcd.db", "secrets.yaml", "castle.json"
_CHECKSUM_BYTES = hashlib.sha256().digest_size


class ArchiveError(Exception):
    """An archive cannot be used. The message is a predicate without a subject ("is …")."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The decrypted content of an archive."""

    etcd: bytes
    """Snapshot of etcd, with its checksum at the end."""
    secrets: str
    """The machine secrets: a secrets bundle of Talos in YAML."""
    kubernetes: str
    """Version of Kubernetes that wrote the snapshot, with a leading v."""

    def sealed(self, recipient: str) -> bytes:
        """The archive as a file, encrypted for an age recipient."""
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            for name, content in (
                (_DATABASE, self.etcd),
                (_SECRETS, self.secrets.encode()),
                (_METADATA, json.dumps({"kubernetes": self.kubernetes}).encode()),
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o600
                tar.addfile(entry, io.BytesIO(content))
        sealed: bytes = pyrage.encrypt(
            plain.getvalue(), [pyrage.x25519.Recipient.from_str(recipient)]
        )
        return sealed

    @classmethod
    def opened(cls, sealed: bytes, key: str) -> Archive:
        """Decrypt and check an archive with an age key; raises ``ArchiveError``."""
        try:
            plain = pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(key)])
        except pyrage.DecryptError:
            raise ArchiveError("is not encrypted for sops.age_key, or is damaged") from None
        try:
            with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                files = {name: _content(tar, name) for name in (_DATABASE, _SECRETS, _METADATA)}
            version = json.loads(files[_METADATA])["kubernetes"]
        except (tarfile.TarError, LookupError, ValueError, TypeError):
            raise ArchiveError("is not an archive of `make snapshot`") from None
        check(files[_DATABASE])
        return cls(etcd=files[_DATABASE], secrets=files[_SECRETS].decode(), kubernetes=version)

    @property
    def authority(self) -> str:
        """Certificate of the CA of the Talos API: PEM in base64, as in Talos' secrets bundle."""
        return str(yaml.safe_load(self.secrets)["certs"]["os"]["crt"])


def check(snapshot: bytes) -> None:
    """Raise ``ArchiveError`` if a snapshot of etcd is incomplete.

    A snapshot ends with its SHA-256 checksum (etcd client/v3/snapshot/v3_snapshot.go).
    """
    body, checksum = snapshot[:-_CHECKSUM_BYTES], snapshot[-_CHECKSUM_BYTES:]
    if not body or hashlib.sha256(body).digest() != checksum:
        raise ArchiveError("contains an incomplete snapshot of etcd (wrong checksum)")


def secrets_of(config: dict[str, Any]) -> str:
    """The secrets bundle with the machine secrets of a control plane's machine config.

    Does the same as Talos (siderolabs/talos v1.13.9
    pkg/machinery/config/generate/secrets/bundle.go NewBundleFromConfig).
    """
    machine, cluster = config["machine"], config["cluster"]
    encryption = {
        "aescbcencryptionsecret": cluster.get("aescbcEncryptionSecret"),
        "secretboxencryptionsecret": cluster.get("secretboxEncryptionSecret"),
    }
    bundle = {
        "cluster": {"id": cluster["id"], "secret": cluster["secret"]},
        "secrets": {
            "bootstraptoken": cluster["token"],
            **{name: secret for name, secret in encryption.items() if secret},
        },
        "trustdinfo": {"token": machine["token"]},
        "certs": {
            "etcd": cluster["etcd"]["ca"],
            "k8s": cluster["ca"],
            "k8saggregator": cluster["aggregatorCA"],
            "k8sserviceaccount": cluster["serviceAccount"],
            "os": machine["ca"],
        },
    }
    return yaml.safe_dump(bundle, sort_keys=False)


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise LookupError(name)
    return file.read()
