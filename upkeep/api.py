"""The Kubernetes API, as little of it as upkeep needs.

An answer that does not come is asked for again for a while: the VIP moves when its holder reboots.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import yaml

from components.mutual_tls import context_of
from upkeep.errors import UpkeepError

PATIENCE = 120
"""Seconds that the API may be away: a lone control plane that reboots is away longer, and is
waited for by itself."""
ANSWER_LIMIT = 15
"""Seconds that one answer may take."""
_PAUSE = 1
_NOT_NOW = (500, 502, 503, 504)

Object = dict[str, Any]


class ApiError(UpkeepError):
    """The API said no, or nothing."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        """HTTP status; 0 where nothing answered."""


class Api:
    """An administrator's access to the API of one cluster."""

    def __init__(self, kubeconfig: str) -> None:
        document = yaml.safe_load(kubeconfig)
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = cluster["server"]
        context = context_of(
            {
                "ca_certificate": cluster["certificate-authority-data"],
                "client_certificate": user["client-certificate-data"],
                "client_key": user["client-key-data"],
            }
        )
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the cluster is in the house: no proxy leads there
            urllib.request.HTTPSHandler(context=context),
        )

    def get(self, path: str, patience: float = PATIENCE) -> Object | None:
        """An object, or None where it or its type does not exist."""
        try:
            return self._ask("GET", path, None, patience)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, path: str) -> list[Object]:
        """The objects of a type; none where there is no such type."""
        found = self.get(path)
        return list(found["items"]) if found else []

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object."""
        self._ask("PATCH", path, change, PATIENCE)

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Make an object, or ask for an action."""
        self._ask("POST", path, body, PATIENCE)

    def delete(self, path: str) -> None:
        """Delete an object, if it is there."""
        try:
            self._ask("DELETE", path, None, PATIENCE)
        except ApiError as error:
            if error.code != 404:
                raise

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, patience: float
    ) -> Object:
        until = time.monotonic() + patience
        while True:
            try:
                return self._once(method, path, body)
            except ApiError as error:
                if error.code not in (0, *_NOT_NOW) or time.monotonic() >= until:
                    raise
            time.sleep(_PAUSE)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Object:
        patch = method == "PATCH"
        request = urllib.request.Request(
            self._server + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": f"application/{'merge-patch+json' if patch else 'json'}"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=ANSWER_LIMIT) as answer:
                found: Object = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, _message(error)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ApiError(
                0, f"the Kubernetes API at {self._server} does not answer: {error}"
            ) from None


def _message(error: urllib.error.HTTPError) -> str:
    with error:
        try:
            return str(json.load(error)["message"])
        except (OSError, ValueError, KeyError, TypeError):
            return f"the Kubernetes API answers {error.code} {error.reason}"
