"""Backup of Traefik's ACME account and certificates: name, store, encryption and restore.

Let's Encrypt issues at most five certificates a week for the same set of names
(letsencrypt.org/docs/rate-limits), so a cluster that is rebuilt every day needs the old ones. Files
are encrypted for the stack's age key. ``commands/backup.py`` reads them from the running cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrage

from backup.store import BackupError, BackupStore, FolderStore
from settings.backups import bucket_of
from settings.models import Settings
from settings.problems import Problem, SettingsError

SERVERS = {"staging": "acme-staging.json", "production": "acme.json"}
"""Traefik's file for each Let's Encrypt server. With one file for both, Traefik would keep using
staging certificates after a change to production (traefik pkg/provider/acme, Init). With two files
a change back to production requests nothing again."""
SECRET = "traefik-backup"
"""The Kubernetes Secret with the decrypted files."""
MOUNT = {"name": "backup", "mountPath": "/backup", "readOnly": True}
"""Mount of the Secret in the init container of Traefik's pod."""
MAX_BYTES = 1024 * 1024
"""Maximum size of a Kubernetes Secret (kubernetes pkg/apis/core MaxSecretSize)."""
PATH = "traefik.acme.backup.target"


def backup_name(stack: str, server: str) -> str:
    """Return the file name of a backup, different for each stack and Let's Encrypt server."""
    return f"{stack}-{server}.age"


def open_store(settings: Settings) -> BackupStore:
    """Return the folder or bucket with the stack's backups."""
    target = settings.traefik.acme.backup.target
    if settings.s3 is None or bucket_of(target) is None:
        return FolderStore(Path(target).expanduser())
    # Imported here because most stacks need no S3 client.
    from backup.bucket import BucketStore

    return BucketStore(target, settings.s3)


def seal(content: bytes, age_key: str) -> bytes:
    """Encrypt ``content`` for the public key that belongs to the secret key ``age_key``."""
    sealed: bytes = pyrage.encrypt(content, [pyrage.x25519.Identity.from_str(age_key).to_public()])
    return sealed


def unseal(sealed: bytes, age_key: str) -> bytes:
    """Decrypt the result of ``seal``. Raises ``BackupError`` if the key does not fit."""
    try:
        content: bytes = pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(age_key)])
        return content
    except pyrage.DecryptError:
        raise BackupError("was encrypted for another key, or is damaged") from None


def secret_volume_values(certificates: Mapping[str, str] | None) -> dict[str, Any]:
    """Values of Traefik's chart that add the Secret as a volume; none without ``certificates``."""
    if certificates is None:
        return {}
    # Optional: Traefik must start if somebody deleted the Secret to request new certificates.
    source = {"secretName": SECRET, "defaultMode": 0o400, "optional": True}
    return {"deployment": {"additionalVolumes": [{"name": MOUNT["name"], "secret": source}]}}


def read_certificates(settings: Settings) -> dict[str, str] | None:
    """Read and decrypt the stack's backup; returns texts by file name, ``None`` without an age key.

    Reads the folder or bucket of ``traefik.acme.backup.target``. Raises ``SettingsError`` if a file
    cannot be read or decrypted, or if the files are too large to restore.
    """
    if settings.sops.age_key is None:
        return None
    key, store = settings.sops.age_key.get_secret_value(), open_store(settings)
    files: dict[str, str] = {}
    for server, file in SERVERS.items():
        name = backup_name(settings.stack, server)
        if sealed := _read(settings, store, name):
            try:
                files[file] = unseal(sealed, key).decode()
            except (BackupError, UnicodeDecodeError) as error:
                raise _settings_error(
                    settings,
                    f"{name}: {error}",
                    "restore the sops.age_key that the file was encrypted for, or move the file "
                    "away: then Let's Encrypt issues new certificates",
                ) from None
    size = sum(len(text.encode()) for text in files.values())
    if size > MAX_BYTES:
        raise _settings_error(
            settings,
            f"contains {size} bytes of certificates; the Kubernetes Secret that restores them can "
            f"contain {MAX_BYTES} bytes",
            f"move {backup_name(settings.stack, 'staging')} away if it exists, or remove unused "
            "host names from your routes",
        )
    return files


def _read(settings: Settings, store: BackupStore, name: str) -> bytes | None:
    try:
        return store.read(name)
    except BackupError as error:
        raise _settings_error(
            settings,
            str(error),
            "make it readable, or set another folder or bucket: if it is empty, Let's Encrypt "
            "issues new certificates",
        ) from None


def _settings_error(settings: Settings, reason: str, fix: str) -> SettingsError:
    return SettingsError([Problem(PATH, str(open_store(settings)), reason, fix)], settings.stack)
