"""Tasks: work that Proxmox VE accepts, names by a UPID and reports on when asked."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator

from .errors import ProxmoxError, TaskError


@dataclasses.dataclass(kw_only=True)
class Task:
    """One task. Its work is done at once, or at its end; the report can be held back longer."""

    upid: str
    node: str
    kind: str
    subject: str
    user: str
    exitstatus: str | None
    """``None`` while it is at work."""
    polls_left: int
    output: str = ""
    """A line of its log."""

    def summary(self) -> dict[str, object]:
        """Describe it as ``GET /cluster/tasks`` does (pve-manager PVE/API2/Cluster.pm)."""
        user, _, token = self.user.partition("!")
        answer: dict[str, object] = {
            "upid": self.upid,
            "node": self.node,
            "type": self.kind,
            "id": self.subject,
            "user": user,
            "tokenid": token,
            "starttime": int(self.upid.split(":")[4], 16),
        }
        if self.exitstatus is not None:
            answer |= {"endtime": int(time.time()), "status": self.exitstatus}
        return answer

    def status(self) -> dict[str, object]:
        """Answer one poll."""
        answer: dict[str, object] = {"upid": self.upid, "node": self.node, "type": self.kind}
        if self.exitstatus is None or self.polls_left > 0:
            self.polls_left -= 1
            return answer | {"status": "running"}
        return answer | {"status": "stopped", "exitstatus": self.exitstatus}

    def log(self) -> list[dict[str, object]]:
        """The lines that the provider quotes when the task failed."""
        if self.exitstatus is None:
            return []
        line = "TASK OK" if self.exitstatus == "OK" else f"TASK ERROR: {self.exitstatus}"
        lines = [self.output, line] if self.output else [line]
        return [{"n": number, "t": text} for number, text in enumerate(lines, start=1)]


class Tasks:
    """All tasks of the cluster.

    A task that is finished at the first poll costs the provider nothing, any other at least a
    second, so ``polls_to_finish`` is 0 unless a test wants to wait.
    """

    def __init__(self, polls_to_finish: int = 0) -> None:
        self.polls_to_finish = polls_to_finish
        self.import_s = 0.0
        """Seconds that the disks of a new machine take."""
        self._tasks: dict[str, Task] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self._pids = itertools.count(0x1000)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def run(
        self, node: str, kind: str, subject: object, user: str, work: Callable[[], None]
    ) -> str:
        """Do the work and return the UPID of the task that did it."""
        try:
            work()
        except TaskError as error:
            return self.record(node, kind, subject, user, exitstatus=str(error))
        return self.record(node, kind, subject, user)

    def begin(
        self, node: str, kind: str, subject: object, user: str, work: Callable[[], None]
    ) -> str:
        """Return the UPID of a task that does its work after ``import_s``, and ends then."""
        upid = self.record(node, kind, subject, user, exitstatus=None)

        def end() -> None:
            try:
                work()
                self._tasks[upid].exitstatus = "OK"
            except TaskError as error:
                self._tasks[upid].exitstatus = str(error)

        self._timers.append(asyncio.get_running_loop().call_later(self.import_s, end))
        return upid

    def lose_power(self) -> None:
        """End all work without an outcome (pve-common PVE/Tools.pm, ``upid_read_status``)."""
        for timer in self._timers:
            timer.cancel()
        for task in self:
            if task.exitstatus is None:
                task.exitstatus = "unexpected status"

    def record(
        self,
        node: str,
        kind: str,
        subject: object,
        user: str,
        exitstatus: str | None = "OK",
        output: str = "",
    ) -> str:
        """Note down a task, with its outcome where that is known, and return its UPID."""
        upid = (
            f"UPID:{node}:{next(self._pids):08X}:{time.monotonic_ns() // 10**7 & 0xFFFFFFFF:08X}:"
            f"{int(time.time()):08X}:{kind}:{subject}:{user}:"
        )
        self._tasks[upid] = Task(
            upid=upid,
            node=node,
            kind=kind,
            subject=str(subject),
            user=user,
            exitstatus=exitstatus,
            polls_left=self.polls_to_finish,
            output=output,
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
