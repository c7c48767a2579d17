"""Faults on order: what a healthy rack would not answer, for any request of any of its APIs."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from enum import StrEnum


class Kind(StrEnum):
    """How a request goes wrong."""

    REFUSED = "refused"
    """Answered with an error of the server; nothing is done."""
    TIMED_OUT = "timed-out"
    """Answered as by a proxy that waited in vain; nothing is done."""
    LOCKED = "locked"
    """Answered as for a VM that somebody else works on; nothing is done."""
    TASK_FAILED = "task-failed"
    """Answered with a task, which ends in an error; nothing is done."""
    CUT = "cut"
    """The connection is cut before anything is done."""
    CUT_AFTER = "cut-after"
    """It is done, and the connection is cut before the answer."""
    SLOW = "slow"
    """It is done, later."""


@dataclasses.dataclass(kw_only=True)
class Fault:
    """What goes wrong with the requests that match."""

    method: str
    """The HTTP method, or the name of the remote procedure."""
    path: str = ".*"
    """A regular expression for the whole path: after ``/api2/json``, or a machine's address."""
    api: str = "proxmox"
    """``proxmox``, ``talos`` or ``factory``."""
    kind: Kind = Kind.REFUSED
    reason: str = "simulated fault"
    """What a refusal or a failed task says."""
    status: int = 500
    """HTTP status of a refusal."""
    skip: int = 0
    """How many requests that match pass unharmed first."""
    times: int | None = 1
    """How many are struck then; ``None``: all."""
    seconds: float = 0
    """How much later a slow one is done."""
    struck: int = 0
    """How many were struck so far."""

    def meets(self, api: str, method: str, path: str) -> bool:
        """Count one request, and tell whether it is struck."""
        same = (self.api, self.method) == (api, method) and re.fullmatch(self.path, path)
        if not same or self.struck == self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.struck += 1
        return True


class Faults(list[Fault]):
    """The faults that are still to come, and those that came."""

    async def meet(self, api: str, method: str, path: str) -> Fault | None:
        """The fault that strikes a request, if any; waits where it is slow."""
        fault = next((fault for fault in self if fault.meets(api, method, path)), None)
        if fault is not None and fault.kind is Kind.SLOW:
            await asyncio.sleep(fault.seconds)
            return None
        return fault
