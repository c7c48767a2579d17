"""A lock, so that only one operation at a time changes a cluster.

If Pulumi is killed, its provider processes continue and finish their operation (tried with Pulumi
3.259). Without the lock, such a process could reboot a node while the next run reboots another one.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from clients.wait import NotYet, wait_for
from settings.project import STATE_FOLDER

FOLDER = STATE_FOLDER
"""Folder of the lock files."""


@contextmanager
def cluster_lock(cluster: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock of a cluster, named by its stack tag.

    Raises ``OperationError`` if another process still holds the lock after ``timeout_s`` seconds.
    """
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{cluster}.lock").open("w") as lock:

        def take() -> None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NotYet(
                    "an earlier run that was killed is still finishing its last operation. Wait "
                    "until it has ended, then run `up` again"
                ) from None

        wait_for(take, timeout_s, f"The lock on {cluster} was not released")
        yield
