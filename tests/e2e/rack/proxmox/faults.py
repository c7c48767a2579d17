"""Faults on order: answers that a healthy cluster would not give."""

from __future__ import annotations

import dataclasses
import re

from .errors import ProxmoxError


@dataclasses.dataclass(kw_only=True)
class Fault:
    """A refusal for the next ``times`` requests that match."""

    method: str
    path: str
    """A regular expression for the whole path after ``/api2/json``."""
    reason: str
    status: int = 500
    times: int = 1


class Faults(list[Fault]):
    """The faults that are still to come."""

    def strike(self, method: str, path: str) -> None:
        """Refuse the request if a fault is waiting for it."""
        for fault in self:
            if fault.times > 0 and fault.method == method and re.fullmatch(fault.path, path):
                fault.times -= 1
                raise ProxmoxError(fault.reason, status=fault.status)
