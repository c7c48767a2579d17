"""A small client of the Kubernetes API, for waits, checks and removals.

The Kubernetes provider creates all objects of the stack.
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
from clients.tls import ClientCredentials, context_of

ANSWER_LIMIT = 10
"""Timeout of one request in seconds."""

Object = dict[str, Any]


class ApiError(OperationError):
    """The Kubernetes API did not answer, or refused a request."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code
        """HTTP status; 0 if there was no answer."""


class ClusterApi:
    """The Kubernetes API of one cluster, with a client certificate."""

    def __init__(self, endpoint: str, tls: ssl.SSLContext) -> None:
        """``endpoint`` is ``https://VIP:6443``."""
        self.endpoint = endpoint
        """URL of the API."""
        self.tls = tls
        """TLS context with the client certificate."""
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the cluster is in the local network: use no proxy
            urllib.request.HTTPSHandler(context=tls),
        )

    @classmethod
    def of(cls, kubeconfig: str) -> Self:
        """Create a client from a kubeconfig (YAML) of Talos. Raises ``ApiError``."""
        try:
            document = yaml.safe_load(kubeconfig)
            cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
            credentials = ClientCredentials(
                ca_certificate=cluster["certificate-authority-data"],
                client_certificate=user["client-certificate-data"],
                client_key=user["client-key-data"],
            )
            return cls(cluster["server"], context_of(credentials))
        except (yaml.YAMLError, LookupError, TypeError, ValueError, OSError):
            # Without the original error, which may quote the credentials.
            raise ApiError("the kubeconfig cannot be read") from None

    def get(self, path: str) -> Object | None:
        """Read an object or a list; ``None`` if it does not exist. Raises ``ApiError``."""
        return self._request_or_none("GET", path)

    def items(self, path: str) -> list[Object]:
        """Read the objects of a list; empty if the kind does not exist. Raises ``ApiError``."""
        return (self.get(path) or {"items": []})["items"]  # type: ignore[no-any-return]

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        """Patch an object (JSON merge patch) if it exists. Raises ``ApiError``."""
        self._request_or_none("PATCH", path, change)

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object or start an action, such as an eviction. Raises ``ApiError``."""
        self._request("POST", path, body)

    def delete(self, path: str, **options: Any) -> None:
        """Delete an object if it exists; ``options`` are fields of ``DeleteOptions``. Raises
        ``ApiError``."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | options
        self._request_or_none("DELETE", path, body)

    def _request_or_none(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Object | None:
        try:
            return self._request(method, path, body)
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Object:
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            self.endpoint + path,
            json.dumps(body).encode() if body is not None else None,
            {"Content-Type": content_type},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=ANSWER_LIMIT) as response:
                answer: Object = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            text = f"the Kubernetes API answers {error.code} {error.reason}{_message(error)}"
            raise ApiError(text, error.code) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ApiError(
                f"the Kubernetes API at {self.endpoint} does not answer: {error}"
            ) from None


def _message(error: urllib.error.HTTPError) -> str:
    """The message in the body of an error, with a colon before it; empty if there is none."""
    with error:
        try:
            return f": {json.load(error)['message']}"
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return ""
