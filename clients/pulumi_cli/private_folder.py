"""A temporary folder of our own for each run of the engine, gone afterwards.

The Kubernetes provider leaves a plain kubeconfig with the admin key in the temporary folder on
every run and never deletes it (pulumi-kubernetes util.go; facts/end-to-end.md 13).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "ephemeral-castle-"
_LOCK = "lock"


@contextmanager
def private_folder(base: Path | None = None) -> Iterator[Path]:
    """A folder that only its owner can read, wiped at the end, also after a failure.

    Wipes what a killed run left behind first: its folder is the one that nobody holds the lock of.
    ``base`` is where the folders lie: memory rather than disk where the system offers it.
    """
    base = base or _base()
    for left_behind in base.glob(f"{PREFIX}*"):
        _wipe_if_abandoned(left_behind)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _base() -> Path:
    """The user's folder in memory; it is gone, or another's, after a ``su`` or a logout."""
    offered = os.environ.get("XDG_RUNTIME_DIR")
    if offered and os.access(offered, os.W_OK | os.X_OK):
        return Path(offered)
    return Path(tempfile.gettempdir())


def _wipe_if_abandoned(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    except OSError:
        pass  # somebody else's, or in use, or just gone
