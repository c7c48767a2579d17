"""A small client of the Kubernetes API, for waits, checks and removals.

The Kubernetes provider creates all objects of the stack.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import yaml

from clients.errors import ClientError, OperationError, describe_failure
from clients.tls import ClientCredentials, context_of
from clients.wait import NotYet, wait_for

ANSWER_LIMIT = 10
"""Timeout of one request in seconds."""
RETRY_TIMEOUT_S = 120
"""Seconds for which ``RetryingApi`` repeats a request. A reboot of a single control plane takes
longer; its operation waits for that itself."""
_RETRY_INTERVAL_S = 1
_RETRIED_STATUSES = (None, 500, 502, 503, 504)
"""Status codes after which a request is repeated; ``None`` is no answer."""
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
"""Label of control planes, and key of their taint."""
CONTROL_PLANE_TOLERATION = {"key": CONTROL_PLANE, "operator": "Exists", "effect": "NoSchedule"}
"""Toleration that a pod needs to run on a control plane."""

Object = dict[str, Any]


class KubernetesError(ClientError):
    """The Kubernetes API did not answer, or refused a request. ``status`` is the HTTP status."""

    def __str__(self) -> str:
        if self.status is None:
            return f"the Kubernetes API at {self.subject} does not answer: {self.detail}"
        return f"the Kubernetes API answers {self.status} {self.detail}"


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
        """Create a client from a kubeconfig (YAML) of Talos. Raises ``OperationError``."""
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
            raise OperationError("the kubeconfig cannot be read") from None

    def get(self, path: str) -> Object | None:
        """Read an object or a list; ``None`` if it does not exist. Raises ``KubernetesError``."""
        return self._request_or_none("GET", path)

    def items(self, path: str) -> list[Object]:
        """Read the objects of a list; empty if the kind does not exist.

        Raises ``KubernetesError``.
        """
        return (self.get(path) or {"items": []})["items"]  # type: ignore[no-any-return]

    def merge(self, path: str, change: Mapping[str, Any]) -> None:
        """Patch an object (JSON merge patch) if it exists. Raises ``KubernetesError``."""
        self._request_or_none("PATCH", path, change)

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object or start an action, such as an eviction. Raises ``KubernetesError``."""
        self._request("POST", path, body)

    def delete(self, path: str, **options: Any) -> None:
        """Delete an object if it exists; ``options`` are fields of ``DeleteOptions``. Raises
        ``KubernetesError``."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | options
        self._request_or_none("DELETE", path, body)

    def _request_or_none(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Object | None:
        try:
            return self._request(method, path, body)
        except KubernetesError as error:
            if error.status == HTTPStatus.NOT_FOUND:
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
            detail = f"{error.reason}{_message(error)}"
            raise KubernetesError(f"{method} {path}", self.endpoint, detail, error.code) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            detail = describe_failure(error)
            raise KubernetesError(f"{method} {path}", self.endpoint, detail) from None


class RetryingApi(ClusterApi):
    """The Kubernetes API of one cluster; requests are repeated while it is down.

    For operations that reboot nodes: the API is down while the VIP moves to another control plane.
    """

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Object:
        deadline = time.monotonic() + RETRY_TIMEOUT_S
        while True:
            try:
                return super()._request(method, path, body)
            except KubernetesError as error:
                if error.status not in _RETRIED_STATUSES or time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_INTERVAL_S)


def delete_with_retries(api: ClusterApi, path: str, timeout_s: float, failure: str) -> None:
    """Delete an object whose deletion the API or a webhook may refuse at first.

    Raises ``OperationError`` after ``timeout_s`` seconds; its text begins with ``failure``.
    """

    def delete() -> None:
        try:
            api.delete(path)
        except KubernetesError as error:
            raise NotYet(str(error)) from None

    wait_for(delete, timeout_s, failure)


def _message(error: urllib.error.HTTPError) -> str:
    """The message in the body of an error, with a colon before it; empty if there is none."""
    with error:
        try:
            return f": {json.load(error)['message']}"
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return ""
