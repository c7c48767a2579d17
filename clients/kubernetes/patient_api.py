"""The Kubernetes API, for those who change what it runs on.

An answer that does not come is asked for again for a while: the VIP moves when its holder reboots.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clients.kubernetes.api import ApiError, ClusterApi, Object
from clients.wait import NotYet, wait_for

PATIENCE = 120
"""Seconds that the API may be away: a lone control plane that reboots is away longer, and is
waited for by itself."""
_PAUSE = 1
_NOT_NOW = (0, 500, 502, 503, 504)


class PatientApi(ClusterApi):
    """The API of one cluster, asked again while it is away."""

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Object:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return super()._ask(method, path, body)
            except ApiError as error:
                if error.code not in _NOT_NOW or time.monotonic() >= until:
                    raise
            time.sleep(_PAUSE)


def delete_in_time(api: ClusterApi, path: str, limit: float, what: str) -> None:
    """Delete an object that the API, or a webhook, does not let go at once.

    Raises ``OperationError`` after ``limit`` seconds: ``what`` is the sentence that says so.
    """

    def look() -> None:
        try:
            api.delete(path)
        except ApiError as error:
            raise NotYet(str(error)) from None

    wait_for(look, limit, what)
