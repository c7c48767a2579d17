"""The backup store: for each name the newest backup and ``OLDER`` older ones.

This module stores backups in a folder; ``backup/bucket.py`` stores them in a bucket.
"""

from __future__ import annotations

import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import TypeVar

from settings.state_files import write_private_file

OLDER = 4
"""Number of older backups to retain beside the newest."""
ANSWER_LIMIT = 30
"""Seconds that an access to a folder may take. A share whose server is off blocks forever."""

T = TypeVar("T")


class BackupError(Exception):
    """A backup cannot be read or written. The message is one sentence."""


class BackupStore(ABC):
    """A place for backups. ``str`` returns its path or URL for messages.

    The methods of a subclass raise ``OSError``: ``FileNotFoundError`` if a backup does not exist.
    """

    def read(self, name: str) -> bytes | None:
        """Return the newest backup of a name, or None. Raises ``BackupError``."""
        with self._backup_errors(f"{self}/{name} cannot be read"), suppress(FileNotFoundError):
            return self._get(name)
        return None

    def write(self, name: str, content: bytes) -> None:
        """Store a backup as the newest of a name, completely or not at all.

        Raises ``BackupError``.
        """
        with self._backup_errors(f"{self}/{name} cannot be written"):
            previous = None
            with suppress(FileNotFoundError):
                previous = self._get(name)
            # The newest backup first: if it cannot be written, the older ones do not change.
            self._put(name, content)
            if previous is None:
                return
            for age in range(OLDER - 1, 0, -1):
                with suppress(FileNotFoundError):
                    self._copy(older(name, age), older(name, age + 1))
            self._put(older(name, 1), previous)

    @abstractmethod
    def _get(self, name: str) -> bytes: ...

    @abstractmethod
    def _put(self, name: str, content: bytes) -> None: ...

    @abstractmethod
    def _copy(self, name: str, to: str) -> None: ...

    @contextmanager
    def _backup_errors(self, what: str) -> Iterator[None]:
        """Convert an ``OSError`` into a ``BackupError`` that starts with ``what``."""
        try:
            yield
        except OSError as error:
            raise BackupError(f"{what}: {error.strerror or error}") from None


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


class FolderStore(BackupStore):
    """The backup store in a folder. Only the owner can read the files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def _get(self, name: str) -> bytes:
        return in_time(self._path, (self._path / name).read_bytes)

    def _put(self, name: str, content: bytes) -> None:
        def put() -> None:
            # Parents are created only for a relative path. The missing parent of an absolute path
            # may be a share that is not mounted, and a backup on the local disk would be mistaken
            # for one on the share.
            is_relative = not self._path.is_absolute()
            self._path.mkdir(mode=0o700, parents=is_relative, exist_ok=True)
            write_private_file(self._path / name, content)

        in_time(self._path, put)

    def _copy(self, name: str, to: str) -> None:
        in_time(self._path, lambda: shutil.copy2(self._path / name, self._path / to))
