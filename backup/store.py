"""A place where backups lie by name: the newest of each, and the ``OLDER`` before it.

Here it is a folder; components/backup_bucket.py has one in an object storage.
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
"""How many backups before the newest are kept."""
ANSWER_LIMIT = 30
"""Seconds that a folder has to answer: a share whose server is off blocks for ever."""

T = TypeVar("T")


class BackupError(Exception):
    """What is kept cannot be read or written: one sentence."""


class BackupStore(Protocol):
    """Where backups lie; as text it is what a person would call it."""

    def read(self, name: str) -> bytes | None:
        """The newest of a name, if there is one. Raises ``BackupError``."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Make this the newest, whole or not at all; raises ``BackupError``."""
        ...


def older(name: str, age: int) -> str:
    """What the backup is called that is so many before the newest: ``a.1.age`` for ``a.age``."""
    path = PurePath(name)
    return f"{path.stem}.{age}{path.suffix}"


def in_time(folder: Path, work: Callable[[], T]) -> T:
    """Do what asks a folder, and wait no longer than it may take; raises ``BackupError`` then.

    It is done in a thread of its own, which the end of the program does not wait for, either.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # raised again by who waits
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
    """Backups in a folder, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def read(self, name: str) -> bytes | None:
        """The newest of a name, if there is one. Raises ``BackupError``."""
        return in_time(self._path, lambda: self._read(name))

    def write(self, name: str, content: bytes) -> None:
        """Make this the newest, whole or not at all. Raises ``BackupError``."""
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
                self._make_room(name)
                Path(temporary).replace(file)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            raise BackupError(f"{file} cannot be written: {error.strerror}") from None

    def _make_room(self, name: str) -> None:
        """Let each older one move on by one; the newest stays until another is in its place."""
        for age in range(OLDER - 1, 0, -1):
            with suppress(FileNotFoundError):
                (self._path / older(name, age)).replace(self._path / older(name, age + 1))
        with suppress(FileNotFoundError):
            shutil.copy2(self._path / name, self._path / older(name, 1))
