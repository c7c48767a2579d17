"""A Kubernetes client that retries while the API is down.

For operations that reboot nodes: the API is down while the VIP moves to another control plane.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clients.kubernetes.api import ApiError, ClusterApi, Object
from clients.wait import NotYet, wait_for

RETRY_TIMEOUT_S = 120
"""Seconds for which a request is repeated. A reboot of a single control plane takes longer; its
operation waits for that itself."""
_PAUSE_S = 1
_RETRIED_CODES = (0, 500, 502, 503, 504)
"""HTTP status codes after which a request is repeated; 0 is no answer."""


class PatientApi(ClusterApi):
    """The Kubernetes API of one cluster; requests are repeated while it is down."""

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Object:
        deadline = time.monotonic() + RETRY_TIMEOUT_S
        while True:
            try:
                return super()._request(method, path, body)
            except ApiError as error:
                if error.code not in _RETRIED_CODES or time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE_S)


def delete_with_retries(api: ClusterApi, path: str, timeout_s: float, failure: str) -> None:
    """Delete an object whose deletion the API or a webhook may refuse at first.

    Raises ``OperationError`` after ``timeout_s`` seconds; its text begins with ``failure``.
    """

    def delete() -> None:
        try:
            api.delete(path)
        except ApiError as error:
            raise NotYet(str(error)) from None

    wait_for(delete, timeout_s, failure)
