"""The Kubernetes API as our own waits and removals ask it: a few verbs, and a certificate.

Leaves out all that the Kubernetes provider does: what is made belongs to it.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import yaml

from clients.errors import OperationError
from clients.tls import context_of

ANSWER_LIMIT = 10
"""Seconds that one answer of the API may take."""

Object = dict[str, Any]


class ApiError(OperationError):
    """The API did not answer, or said no: one sentence."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code
        """HTTP status; 0 where nothing answered."""


class ClusterApi:
    """The API of one cluster, asked with a client certificate."""

    def __init__(self, endpoint: str, tls: ssl.SSLContext) -> None:
        """``endpoint`` is ``https://VIP:6443``."""
        self.endpoint = endpoint
        """Where it is."""
        self.tls = tls
        """How it is asked."""
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the cluster is in the house: no proxy leads there
            urllib.request.HTTPSHandler(context=tls),
        )

    @classmethod
    def of(cls, kubeconfig: str) -> Self:
        """The API that a kubeconfig of Talos leads to; raises ``ApiError`` if it cannot be read."""
        try:
            document = yaml.safe_load(kubeconfig)
            cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
            tls = context_of(
                {
                    "ca_certificate": cluster["certificate-authority-data"],
                    "client_certificate": user["client-certificate-data"],
                    "client_key": user["client-key-data"],
                }
            )
            return cls(cluster["server"], tls)
        except (yaml.YAMLError, LookupError, TypeError, ValueError, OSError):
            # Never the reason itself: it may quote what it could not read.
            raise ApiError("the kubeconfig cannot be read") from None

    def get(self, path: str) -> Object | None:
        """An object or a list, or ``None`` where there is none."""
        return self._ask_if_there("GET", path)

    def items(self, path: str) -> list[Object]:
        """The objects of a list; none where their kind does not exist."""
        return (self.get(path) or {"items": []})["items"]  # type: ignore[no-any-return]

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object, if it is there."""
        self._ask_if_there("PATCH", path, change)

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Make an object, or ask for an action."""
        self._ask("POST", path, body)

    def delete(self, path: str, **options: Any) -> None:
        """Delete an object, if it is there; ``options`` are those of ``DeleteOptions``."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | options
        self._ask_if_there("DELETE", path, body)

    def _ask_if_there(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Object | None:
        try:
            return self._ask(method, path, body)
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Object:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            self.endpoint + path,
            json.dumps(body).encode() if body is not None else None,
            {"Content-Type": kind},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=ANSWER_LIMIT) as response:
                answer: Object = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            told = f"the Kubernetes API answers {error.code} {error.reason}{_message(error)}"
            raise ApiError(told, error.code) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ApiError(
                f"the Kubernetes API at {self.endpoint} does not answer: {error}"
            ) from None


def _message(error: urllib.error.HTTPError) -> str:
    """What the API says of a refusal, if it does."""
    with error:
        try:
            return f": {json.load(error)['message']}"
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return ""
