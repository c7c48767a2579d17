"""Calls the Proxmox API with the token of the stack, and waits for Proxmox tasks."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settings.groups import Endpoint


ANSWER_LIMIT = 10
"""Timeout of one request in seconds."""
FAILURES = (OSError, ValueError, KeyError, TypeError, http.client.HTTPException)
"""Exceptions that a call may raise. ``urllib.error.HTTPError`` is an ``OSError``."""
_POLL_INTERVAL_S = 1
"""Seconds between two requests for the status of a task."""
_MAX_FAILURES = 3
"""Number of consecutive failed status requests after which a wait ends with the error."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Disables redirects: the Proxmox API has none, and another server must not get the token."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow no redirect; the answer is then an ``HTTPError``."""


def caller(proxmox: Endpoint, limit: float = ANSWER_LIMIT) -> Callable[..., Any]:
    """Return a function ``call(path, method="GET", form=None)`` for the Proxmox API.

    The function returns ``data`` of the answer. It times out after ``limit`` seconds. It raises
    ``urllib.error.HTTPError``, ``OSError``, ``http.client.HTTPException``, ``ValueError`` or
    ``KeyError``. No exception contains the token.
    """
    base = proxmox.endpoint.removesuffix("/api2/json")
    https = urllib.request.HTTPSHandler(context=_tls(proxmox))
    opener = urllib.request.build_opener(https, _NoRedirect)

    def call(path: str, method: str = "GET", form: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            f"{base}/api2/json{path}",
            None if form is None else urllib.parse.urlencode(form).encode(),
            {"Authorization": f"PVEAPIToken={proxmox.api_token.get_secret_value()}"},
            method=method,
        )
        with opener.open(request, timeout=limit) as answer:
            return json.load(answer)["data"]

    return call


def _tls(proxmox: Endpoint) -> ssl.SSLContext:
    if proxmox.insecure:
        # Without the CAs of this computer: loading them takes as long as ten requests.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context = ssl.create_default_context()
    # Python 3.13 requires extensions that a private CA may not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def tags_of(guest: Mapping[str, Any]) -> frozenset[str]:
    """The tags of a guest in a list of the Proxmox API."""
    return frozenset(re.split("[;,]", str(guest.get("tags", ""))))


def wait_for(call: Callable[[str], Any], task: str, limit: float) -> str:
    """Wait for the end of a task (a UPID); returns its error, empty if it succeeded.

    A failed status request does not stop the task, so this raises the error of ``call`` only after
    ``_MAX_FAILURES`` consecutive failures. Raises ``TimeoutError`` after ``limit`` seconds.
    """
    path = f"/nodes/{task.split(':')[1]}/tasks/{urllib.parse.quote(task, safe='')}/status"
    deadline = time.monotonic() + limit
    failures = 0
    while True:
        try:
            status = call(path)
            if status["status"] == "stopped":
                break
            failures = 0
        except Exception as error:
            failures += 1
            if failures == _MAX_FAILURES:
                raise
            if isinstance(error, urllib.error.HTTPError):
                error.close()
        if time.monotonic() >= deadline:
            raise TimeoutError(f"the Proxmox task has not finished after {limit:.0f} s")
        time.sleep(_POLL_INTERVAL_S)
    exit_status = str(status.get("exitstatus") or "OK")
    return "" if exit_status.startswith(("OK", "WARNINGS")) else exit_status
