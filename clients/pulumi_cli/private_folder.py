"""A private temporary folder for each run of Pulumi, deleted after the run.

In every run the Kubernetes provider writes a plain kubeconfig with the admin key into ``TMPDIR``
and never deletes it (pulumi-kubernetes 4.32 util.go).
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
    """Yield a folder that only its owner can read, and delete it at the end or after a failure.

    First deletes the folders of killed runs: those whose lock no process holds. ``base`` is the
    parent folder; the default is a folder in memory if the system has one.
    """
    base = base or _base()
    for old_folder in base.glob(f"{PREFIX}*"):
        _delete_if_abandoned(old_folder)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _base() -> Path:
    """``XDG_RUNTIME_DIR`` (in memory), or the temporary folder.

    After ``su`` or a logout, the variable may name a folder that is missing or not writable.
    """
    runtime_folder = os.environ.get("XDG_RUNTIME_DIR")
    if runtime_folder and os.access(runtime_folder, os.W_OK | os.X_OK):
        return Path(runtime_folder)
    return Path(tempfile.gettempdir())


def _delete_if_abandoned(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    except OSError:
        pass  # of another user, in use, or already deleted
