"""One at a time: a run that was killed leaves its last step running, and the next must wait for it.

The engine's helpers outlive it (facts/end-to-end.md 9), and would reboot a node while the next run
reboots another.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from clients.wait import NotYet, wait_for
from settings.project import STATE_FOLDER

FOLDER = STATE_FOLDER


@contextmanager
def one_at_a_time(cluster: str, limit: float) -> Iterator[None]:
    """Hold the cluster's lock. Raises ``OperationError`` after ``limit`` seconds without it."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{cluster}.lock").open("w") as lock:

        def take() -> None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NotYet("a run that was stopped is still at its last node") from None

        wait_for(take, limit, f"Nobody else may touch {cluster}, but it was not let go")
        yield
