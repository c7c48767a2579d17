"""Tasks: work that Proxmox VE accepts, names by a UPID and reports on when asked."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable

from .errors import ProxmoxError, TaskError


@dataclasses.dataclass(kw_only=True)
class Task:
    """One task. Its work is done at once; only the report can be held back."""

    upid: str
    node: str
    kind: str
    exitstatus: str
    polls_left: int

    def status(self) -> dict[str, object]:
        """Answer one poll."""
        answer: dict[str, object] = {"upid": self.upid, "node": self.node, "type": self.kind}
        if self.polls_left > 0:
            self.polls_left -= 1
            return answer | {"status": "running"}
        return answer | {"status": "stopped", "exitstatus": self.exitstatus}

    def log(self) -> list[dict[str, object]]:
        """The lines that the provider quotes when the task failed."""
        line = "TASK OK" if self.exitstatus == "OK" else f"TASK ERROR: {self.exitstatus}"
        return [{"n": 1, "t": line}]


class Tasks:
    """All tasks of the cluster.

    A task that is finished at the first poll costs the provider nothing, any other at least a
    second (facts/providers.md B0), so ``polls_to_finish`` is 0 unless a test wants to wait.
    """

    def __init__(self, polls_to_finish: int = 0) -> None:
        self.polls_to_finish = polls_to_finish
        self._tasks: dict[str, Task] = {}
        self._pids = itertools.count(0x1000)

    def run(
        self, node: str, kind: str, subject: object, user: str, work: Callable[[], None]
    ) -> str:
        """Do the work and return the UPID of the task that did it."""
        try:
            work()
        except TaskError as error:
            return self.record(node, kind, subject, user, exitstatus=str(error))
        return self.record(node, kind, subject, user)

    def record(
        self, node: str, kind: str, subject: object, user: str, exitstatus: str = "OK"
    ) -> str:
        """Note down a task whose outcome is known, and return its UPID."""
        upid = (
            f"UPID:{node}:{next(self._pids):08X}:{time.monotonic_ns() // 10**7 & 0xFFFFFFFF:08X}:"
            f"{int(time.time()):08X}:{kind}:{subject}:{user}:"
        )
        self._tasks[upid] = Task(
            upid=upid,
            node=node,
            kind=kind,
            exitstatus=exitstatus,
            polls_left=self.polls_to_finish,
        )
        return upid

    def get(self, upid: str) -> Task:
        """Find a task by its UPID."""
        try:
            return self._tasks[upid]
        except KeyError:
            raise ProxmoxError(f"no such task '{upid}'", status=400) from None

    def forget(self, upid: str) -> None:
        """Drop a task, as the provider does with a failed download."""
        self._tasks.pop(upid, None)
