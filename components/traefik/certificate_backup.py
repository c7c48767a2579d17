"""The ACME account and the certificates, kept outside of the castle and encrypted with age.

Let's Encrypt signs five certificates a week for one set of names
(letsencrypt.org/docs/rate-limits): a castle that is rebuilt every night has none on the sixth. So
what Traefik had in the last castle is put back into the next. It is encrypted for the castle's own
age key; nothing of it is ever in the open outside of memory and the castle.

Leaves out how it is read from a living castle: engine/backup.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrage

from backup.store import BackupError, BackupStore, Folder
from settings.backups import bucket_of
from settings.models import Settings
from settings.problems import Problem, SettingsError

SERVERS = {"staging": "acme-staging.json", "production": "acme.json"}
"""The file of each of Let's Encrypt's servers. In one file Traefik would go on with staging's
certificates after the change to production: it makes a new account, but keeps what it has (traefik
pkg/provider/acme, Init). And going back and forth asks production for nothing again."""
SECRET = "traefik-backup"
"""The Secret by which they go back."""
MOUNT = {"name": "backup", "mountPath": "/backup", "readOnly": True}
"""Where the init container of Traefik's pod finds them."""
MOST = 1024 * 1024
"""Bytes that a Kubernetes Secret holds (kubernetes pkg/apis/core MaxSecretSize)."""
PATH = "traefik.acme.backup.target"


def name_of(stack: str, server: str) -> str:
    """The name of a backup: castles, and Let's Encrypt's servers, never get each other's."""
    return f"{stack}-{server}.age"


def place_of(settings: Settings) -> BackupStore:
    """Where a stack's backups are kept."""
    target = settings.traefik.acme.backup.target
    if settings.s3 is None or bucket_of(target) is None:
        return Folder(Path(target).expanduser())
    # Not above: it takes half a second, which only those pay who have a bucket.
    from backup.bucket import BucketBackups

    return BucketBackups(target, settings.s3)


def seal(content: bytes, age_key: str) -> bytes:
    """Encrypt for the holder of a secret key of age."""
    sealed: bytes = pyrage.encrypt(content, [pyrage.x25519.Identity.from_str(age_key).to_public()])
    return sealed


def unseal(sealed: bytes, age_key: str) -> bytes:
    """Decrypt what ``seal`` made. Raises ``BackupError`` where the key is another one."""
    try:
        content: bytes = pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(age_key)])
        return content
    except pyrage.DecryptError:
        raise BackupError("was encrypted for another key, or is damaged") from None


def mounted(kept: Mapping[str, str] | None) -> dict[str, Any]:
    """Values of Traefik's chart that bring the Secret into the pod."""
    if kept is None:
        return {}
    # Optional: whoever deletes it by hand begins anew, and Traefik must not wait for it.
    source = {"secretName": SECRET, "defaultMode": 0o400, "optional": True}
    return {"deployment": {"additionalVolumes": [{"name": MOUNT["name"], "secret": source}]}}


def read_certificates(settings: Settings) -> dict[str, str] | None:
    """Read and decrypt what is kept of a stack, by file name; ``None`` without an age key.

    Reads the folder or the bucket of ``traefik.acme.backup.target``.

    Raises ``SettingsError`` where what is there cannot be put back.
    """
    if settings.sops.age_key is None:
        return None
    key, place = settings.sops.age_key.get_secret_value(), place_of(settings)
    found: dict[str, str] = {}
    for server, file in SERVERS.items():
        name = name_of(settings.stack, server)
        if sealed := _read(settings, place, name):
            try:
                found[file] = unseal(sealed, key).decode()
            except (BackupError, UnicodeDecodeError) as error:
                raise _refused(
                    settings,
                    f"{name}: {error}",
                    "bring the key back that it was made with (sops.age_key), or move the file "
                    "away: then Let's Encrypt is asked anew",
                ) from None
    size = sum(len(text.encode()) for text in found.values())
    if size > MOST:
        raise _refused(
            settings,
            f"holds {size} bytes of certificates; a Kubernetes Secret, by which they go back, "
            f"holds {MOST}",
            f"move {name_of(settings.stack, 'staging')} away, if there is one, or write host names "
            "that are not used any more out of your routes",
        )
    return found


def _read(settings: Settings, place: BackupStore, name: str) -> bytes | None:
    try:
        return place.read(name)
    except BackupError as error:
        raise _refused(
            settings,
            str(error),
            "let it be read, or name another place: from an empty one Let's Encrypt is asked anew",
        ) from None


def _refused(settings: Settings, reason: str, fix: str) -> SettingsError:
    return SettingsError([Problem(PATH, str(place_of(settings)), reason, fix)], settings.stack)
