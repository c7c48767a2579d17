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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from clients.errors import ClientError, describe_failure

if TYPE_CHECKING:
    from settings.groups import Endpoint

ANSWER_LIMIT = 10
"""Timeout of one request in seconds."""
_POLL_INTERVAL_S = 1
"""Seconds between two requests for the status of a task."""
_MAX_FAILURES = 3
"""Number of consecutive failed status requests after which a wait ends with the error."""


class ProxmoxError(ClientError):
    """Proxmox did not answer, or refused a request. ``status`` is the HTTP status.

    The text also has a fix. No field contains the token.
    """

    def __str__(self) -> str:
        if self.status is None:
            return (
                f"Proxmox at {self.subject} (proxmoxve:endpoint) does not answer as it should: "
                f"{self.detail}. Check that the host is up and the address is right; with a "
                "self-signed certificate set proxmoxve:insecure to true."
            )
        fix = (
            "Check proxmoxve:apiToken, its privileges and that it has not expired."
            if self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            else "Check the log of the Proxmox host."
        )
        return (
            f"Proxmox at {self.subject} answers {self.status} {self.detail} to {self.operation}. "
            f"{fix}"
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Disables redirects: the Proxmox API has none, and another server must not get the token."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow no redirect; the answer is then an ``HTTPError``."""


def caller(proxmox: Endpoint, limit: float = ANSWER_LIMIT) -> Callable[..., Any]:
    """Return a function ``call(path, method="GET", form=None)`` for the Proxmox API.

    The function returns ``data`` of the answer. It times out after ``limit`` seconds. It raises
    ``ProxmoxError``.
    """
    base = base_url(proxmox)
    https = urllib.request.HTTPSHandler(context=_tls(proxmox))
    opener = urllib.request.build_opener(https, _NoRedirect)

    def call(path: str, method: str = "GET", form: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            f"{base}/api2/json{path}",
            None if form is None else urllib.parse.urlencode(form).encode(),
            {"Authorization": f"PVEAPIToken={proxmox.api_token.get_secret_value()}"},
            method=method,
        )
        with (
            translated_errors(proxmox, f"{method} {path}"),
            opener.open(request, timeout=limit) as answer,
        ):
            return json.load(answer)["data"]

    return call


def base_url(proxmox: Endpoint) -> str:
    """The URL of Proxmox without the path of the API."""
    return proxmox.endpoint.removesuffix("/api2/json")


@contextmanager
def translated_errors(proxmox: Endpoint, operation: str) -> Iterator[None]:
    """Turn the errors of a request, and of reading its answer, into ``ProxmoxError``."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise ProxmoxError(operation, base_url(proxmox), error.reason, error.code) from None
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
        raise ProxmoxError(operation, base_url(proxmox), describe_failure(error)) from None


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


def wait_for_task(call: Callable[[str], Any], task: str, limit: float) -> str:
    """Wait until a task (a UPID) ends; returns why it failed, or an empty text if it succeeded.

    After ``limit`` seconds the result is "it has not finished after … s". A failed status request
    does not stop the task, so this raises ``ProxmoxError`` only after ``_MAX_FAILURES`` consecutive
    failures.
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
        except ProxmoxError:
            failures += 1
            if failures == _MAX_FAILURES:
                raise
        if time.monotonic() >= deadline:
            return f"it has not finished after {limit:.0f} s"
        time.sleep(_POLL_INTERVAL_S)
    exit_status = str(status.get("exitstatus") or "OK")
    return "" if exit_status.startswith(("OK", "WARNINGS")) else exit_status
