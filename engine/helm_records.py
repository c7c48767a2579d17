"""Helm's own record of a release, for one that the engine does not know.

A run that was killed while a chart was installed leaves a release of its name: Helm then refuses
with "cannot re-use a name that is still in use", for ever (facts/end-to-end.md 9). Without the
record Helm installs anew over what is there, which it knows by its own labels, and loses nothing.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.mutual_tls import context_of

ANSWER_LIMIT = 10
"""Seconds that the Kubernetes API has to answer."""


@dataclass(frozen=True)
class Release:
    """A release, by its name and its namespace."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Api:
    """The Kubernetes API of the castle that a state describes."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        self._host = host.rstrip("/")
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the cluster is in the house: no proxy leads there
            urllib.request.HTTPSHandler(context=context),
        )

    @classmethod
    def of(cls, resources: list[dict[str, Any]]) -> Api | None:
        """The API, by the kubeconfig in the state, its secrets in plain text; ``None`` without."""
        for resource in resources:
            if resource["type"] == "talos:cluster/kubeconfig:Kubeconfig":
                found = resource["outputs"]["kubernetesClientConfiguration"]
                if isinstance(found, Mapping) and "plaintext" in found:
                    found = json.loads(found["plaintext"])
                credentials = {
                    "ca_certificate": _plain(found["caCertificate"]),
                    "client_certificate": _plain(found["clientCertificate"]),
                    "client_key": _plain(found["clientKey"]),
                }
                return cls(_plain(found["host"]), context_of(credentials))
        return None

    def answers(self) -> bool:
        """Whether the API is there."""
        try:
            self._call("GET", "/readyz")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def knows(self, release: Release) -> bool:
        """Whether Helm has a record of a release. Raises ``OSError``."""
        return any(self._records(release))

    def forget(self, release: Release) -> None:
        """Take away every record of a release; what it installed stays. Raises ``OSError``."""
        for name in list(self._records(release)):
            self._call("DELETE", f"/api/v1/namespaces/{release.namespace}/secrets/{name}")

    def _records(self, release: Release) -> Iterator[str]:
        labels = urllib.parse.quote(f"owner=helm,name={release.name}")
        path = f"/api/v1/namespaces/{release.namespace}/secrets?labelSelector={labels}"
        for secret in json.loads(self._call("GET", path))["items"]:
            yield secret["metadata"]["name"]

    def _call(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(self._host + path, method=method)
        with self._opener.open(request, timeout=ANSWER_LIMIT) as answer:
            read: bytes = answer.read()
            return read


def _plain(value: Any) -> str:
    """A text of the state, which wraps what is secret."""
    if isinstance(value, Mapping):
        return str(json.loads(value["plaintext"]))
    return str(value)
