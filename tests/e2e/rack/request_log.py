"""What the rack was asked, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One call that reached the rack; credentials and configurations are not kept."""

    api: str
    """``proxmox``, ``talos`` or ``factory``."""
    method: str
    """The HTTP method, or the name of the remote procedure."""
    path: str
    """The HTTP path, or the address of the machine that was dialled."""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)


class RequestLog(list[Request]):
    """All requests since the rack started or was reset."""

    def of(self, api: str, method: str | None = None) -> list[Request]:
        """Select the requests to one API, and of one method if it is given."""
        return [r for r in self if r.api == api and method in (None, r.method)]
