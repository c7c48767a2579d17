"""The backup store: for each name the newest backup and ``OLDER`` older ones.

This module stores backups in a folder; ``backup/bucket.py`` stores them in a bucket.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Protocol, TypeVar

OLDER = 4
"""Number of older backups to retain beside the newest."""
ANSWER_LIMIT = 30
"""Seconds that an access to a folder may take. A share whose server is off blocks forever."""

T = TypeVar("T")


class BackupError(Exception):
    """A backup cannot be read or written. The message is one sentence."""


class BackupStore(Protocol):
    """A place for backups. ``str`` returns its path or URL for messages."""

    def read(self, name: str) -> bytes | None:
        """Return the newest backup of a name, or None. Raises ``BackupError``."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Store a backup as the newest of a name, completely or not at all. Raises
        ``BackupError``."""
        ...


def older(name: str, age: int) -> str:
    """Name of the backup that is ``age`` backups older: ``a.1.age`` for ``a.age`` and 1."""
    path = PurePath(name)
    return f"{path.stem}.{age}{path.suffix}"


def in_time(folder: Path, work: Callable[[], T]) -> T:
    """Run ``work``, which accesses ``folder``, and return its result.

    Raises ``BackupError`` if it takes longer than ``ANSWER_LIMIT``. It runs in a daemon thread, so
    that a blocked folder does not delay the end of the program.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # raised again in the calling thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ANSWER_LIMIT)
    if failed:
        raise failed[0]
    if not done:
        raise BackupError(f"{folder} does not answer within {ANSWER_LIMIT} s: is its server on?")
    return done[0]


class Folder:
    """The backup store in a folder. Only the owner can read the files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def read(self, name: str) -> bytes | None:
        """Return the newest backup of a name, or None. Raises ``BackupError``."""
        return in_time(self._path, lambda: self._read(name))

    def write(self, name: str, content: bytes) -> None:
        """Store a backup as the newest of a name, completely or not at all. Raises
        ``BackupError``."""
        in_time(self._path, lambda: self._write(name, content))

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BackupError(f"{self._path / name} cannot be read: {error.strerror}") from None

    def _write(self, name: str, content: bytes) -> None:
        file = self._path / name
        try:
            # Parents are created only for a relative path. The missing parent of an absolute path
            # may be a share that is not mounted, and a backup on the local disk would be mistaken
            # for one on the share.
            is_relative = not self._path.is_absolute()
            self._path.mkdir(mode=0o700, parents=is_relative, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path, prefix=".", suffix=name)  # 0600
            try:
                with os.fdopen(handle, "wb") as output:
                    output.write(content)
                    output.flush()
                    os.fsync(output.fileno())
                self._rotate(name)
                Path(temporary).replace(file)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            raise BackupError(f"{file} cannot be written: {error.strerror}") from None

    def _rotate(self, name: str) -> None:
        """Rename each older backup to the next older name, and copy the newest to the first."""
        for age in range(OLDER - 1, 0, -1):
            with suppress(FileNotFoundError):
                (self._path / older(name, age)).replace(self._path / older(name, age + 1))
        with suppress(FileNotFoundError):
            shutil.copy2(self._path / name, self._path / older(name, 1))
