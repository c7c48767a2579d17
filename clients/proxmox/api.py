"""Calls Proxmox' API with the castle's token.

Who calls knows the paths, and what an answer means.
"""

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
"""Seconds that Proxmox has to answer."""
FAILURES = (OSError, ValueError, KeyError, TypeError, http.client.HTTPException)
"""What a call may raise, an ``HTTPError`` among them."""
_POLL = 1
"""Seconds between two looks at a task."""
_TRIES = 3
"""So many looks at a task that fail in a row are no accident."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Proxmox' API redirects nobody, and the token must not follow one who says so."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing: the redirect is then an answer like any other that is wrong."""


def caller(proxmox: Endpoint, limit: float = ANSWER_LIMIT) -> Callable[..., Any]:
    """How to call Proxmox' API: a function of a path, and of a method and a form where it has them.

    It returns the ``data`` of the answer, and gives up after ``limit`` seconds without a word. What
    goes wrong is raised as ``urllib`` and ``json`` have it: ``urllib.error.HTTPError``,
    ``OSError``, ``http.client.HTTPException``, ``ValueError`` or ``KeyError``; none of them holds
    the token.
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
        # Without this machine's authorities, which take as long to load as ten calls.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context = ssl.create_default_context()
    # Python 3.13 asks for extensions that a home's own authority need not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def tags_of(guest: Mapping[str, Any]) -> frozenset[str]:
    """The tags of a guest, as an entry of Proxmox' lists has them."""
    return frozenset(re.split("[;,]", str(guest.get("tags", ""))))


def wait_for(call: Callable[[str], Any], task: str, limit: float) -> str:
    """Wait for a task, named by its UPID; what it failed of, empty where it went well.

    The task goes on where a look at it fails, so that is borne ``_TRIES`` - 1 times in a row.
    Raises ``TimeoutError`` after ``limit`` seconds, and what ``call`` raises.
    """
    path = f"/nodes/{task.split(':')[1]}/tasks/{urllib.parse.quote(task, safe='')}/status"
    until = time.monotonic() + limit
    failures = 0
    while True:
        try:
            status = call(path)
            if status["status"] == "stopped":
                break
            failures = 0
        except Exception as error:
            failures += 1
            if failures == _TRIES:
                raise
            if isinstance(error, urllib.error.HTTPError):
                error.close()
        if time.monotonic() >= until:
            raise TimeoutError(f"Proxmox has not finished after {limit:.0f} s")
        time.sleep(_POLL)
    ended = str(status.get("exitstatus") or "OK")
    return "" if ended.startswith(("OK", "WARNINGS")) else ended
