"""The ACME account and the certificates, kept outside of the castle and encrypted with age.

Let's Encrypt signs five certificates a week for one set of names
(letsencrypt.org/docs/rate-limits): a castle that is rebuilt every night has none on the sixth. So
what Traefik had in the last castle is put back into the next. It is encrypted for the castle's own
age key; nothing of it is ever in the open outside of memory and the castle.

Leaves out how it is read from a living castle: engine/backup.py.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyrage

from settings import Problem, Settings, SettingsError

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
OLDER = 4
"""How many backups before the newest are kept."""
PATH = "traefik.acme.backup.folder"


class BackupError(Exception):
    """What is kept cannot be read or written: one sentence."""


class Folder:
    """Backups in a folder, each under its name: the newest, and the ``OLDER`` before it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def read(self, name: str) -> bytes | None:
        """The newest of a name, if there is one. Raises ``BackupError``."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BackupError(f"{self._path / name} cannot be read: {error.strerror}") from None

    def write(self, name: str, content: bytes) -> None:
        """Make this the newest, whole or not at all, readable by its owner alone.

        Raises ``BackupError``.
        """
        file = self._path / name
        try:
            # Elsewhere only the folder itself: where a share is not mounted, its place may be
            # missing, and nothing must look as if it were kept.
            ours = not self._path.is_absolute()
            self._path.mkdir(mode=0o700, parents=ours, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path, prefix=".", suffix=name)  # 0600
            try:
                with os.fdopen(handle, "wb") as output:
                    output.write(content)
                    output.flush()
                    os.fsync(output.fileno())
                self._make_room(file)
                Path(temporary).replace(file)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            raise BackupError(f"{file} cannot be written: {error.strerror}") from None

    def _make_room(self, file: Path) -> None:
        """Let each older one move on by one; the newest stays until another is in its place."""
        for age in range(OLDER - 1, 0, -1):
            with suppress(FileNotFoundError):
                _older(file, age).replace(_older(file, age + 1))
        with suppress(FileNotFoundError):
            shutil.copy2(file, _older(file, 1))


def _older(file: Path, age: int) -> Path:
    return file.with_suffix(f".{age}{file.suffix}")


def name_of(stack: str, server: str) -> str:
    """The name of a backup: castles, and Let's Encrypt's servers, never get each other's."""
    return f"{stack}-{server}.age"


def place_of(settings: Settings) -> Folder:
    """Where a stack's backups are kept."""
    return Folder(Path(settings.traefik.acme.backup.folder).expanduser())


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


def opened(settings: Settings) -> dict[str, str] | None:
    """What is kept of a stack, open, by the names of the files; ``None`` without an age key.

    Raises ``SettingsError`` where what is there cannot be put back.
    """
    if settings.sops.age_key is None:
        return None
    key, place = settings.sops.age_key.get_secret_value(), place_of(settings)
    found: dict[str, str] = {}
    for server, file in SERVERS.items():
        name = name_of(settings.stack, server)
        try:
            if sealed := place.read(name):
                found[file] = unseal(sealed, key).decode()
        except (BackupError, UnicodeDecodeError) as error:
            raise _refused(
                settings,
                f"{name}: {error}",
                "bring the key back that it was made with (sops.age_key), or move the file away: "
                "then Let's Encrypt is asked anew",
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


def _refused(settings: Settings, reason: str, cure: str) -> SettingsError:
    return SettingsError([Problem(PATH, str(place_of(settings)), reason, cure)], settings.stack)
