"""An archive of a castle: a snapshot of its etcd, and the machine secrets that open it.

Kubernetes' Secrets lie in etcd encrypted, service accounts are signed, and machines join by what
the cluster's machine secrets hold: a snapshot alone is of no use to a castle with new ones. So both
are in one file, which is encrypted with age and never plain: inside is a tar of ``etcd.db``,
``secrets.yaml`` (as ``talosctl gen secrets`` writes it) and ``castle.json``.
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

_DATABASE, _SECRETS, _CASTLE = "etcd.db", "secrets.yaml", "castle.json"
_CHECKSUM = hashlib.sha256().digest_size


class ArchiveError(Exception):
    """What is wrong with an archive, as half a sentence."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What a castle is restored from."""

    etcd: bytes
    """A snapshot of etcd, its checksum at the end."""
    secrets: str
    """The machine secrets, a secrets bundle of Talos in YAML."""
    kubernetes: str
    """Version of Kubernetes that wrote it, with its leading v."""

    def sealed(self, recipient: str) -> bytes:
        """The archive, encrypted for an age recipient."""
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w") as tar:
            for name, content in (
                (_DATABASE, self.etcd),
                (_SECRETS, self.secrets.encode()),
                (_CASTLE, json.dumps({"kubernetes": self.kubernetes}).encode()),
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o600
                tar.addfile(entry, io.BytesIO(content))
        sealed: bytes = pyrage.encrypt(
            whole.getvalue(), [pyrage.x25519.Recipient.from_str(recipient)]
        )
        return sealed

    @classmethod
    def opened(cls, sealed: bytes, key: str) -> Archive:
        """Decrypt an archive with an age key; raises ``ArchiveError``."""
        try:
            plain = pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(key)])
        except pyrage.DecryptError:
            raise ArchiveError("is no file that sops.age_key opens, or it is damaged") from None
        try:
            with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                files = {name: _content(tar, name) for name in (_DATABASE, _SECRETS, _CASTLE)}
            version = json.loads(files[_CASTLE])["kubernetes"]
        except (tarfile.TarError, LookupError, ValueError, TypeError):
            raise ArchiveError("is not what `make snapshot` writes") from None
        check(files[_DATABASE])
        return cls(etcd=files[_DATABASE], secrets=files[_SECRETS].decode(), kubernetes=version)

    @property
    def authority(self) -> str:
        """The authority of its machines' API: PEM in base64, as Talos writes it."""
        return str(yaml.safe_load(self.secrets)["certs"]["os"]["crt"])


def check(snapshot: bytes) -> None:
    """Raise ``ArchiveError`` unless a snapshot of etcd is whole.

    It ends with the checksum of all before (etcd client/v3/snapshot/v3_snapshot.go).
    """
    body, checksum = snapshot[:-_CHECKSUM], snapshot[-_CHECKSUM:]
    if not body or hashlib.sha256(body).digest() != checksum:
        raise ArchiveError("holds no whole snapshot of etcd")


def secrets_of(config: dict[str, Any]) -> str:
    """The machine secrets that stand in a control plane's machine config, as a secrets bundle.

    As Talos itself takes them out of it (siderolabs/talos v1.13.9
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
