"""Helm's own record of a release, for one that the engine does not know.

A run that was killed while a chart was installed leaves a release of its name: Helm then refuses
with "cannot re-use a name that is still in use", for ever (facts/end-to-end.md 9). Without the
record Helm installs anew over what is there, which it knows by its own labels, and loses nothing.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.cluster_api import ApiError, ClusterApi

KUBECONFIG = "talos:cluster/kubeconfig:Kubeconfig"


@dataclass(frozen=True)
class Release:
    """A release, by its name and its namespace."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def api_of(resources: list[dict[str, Any]]) -> ClusterApi | None:
    """The API of the castle that a state describes, if it answers.

    ``resources`` are those of the state with its secrets in plain text.
    """
    for resource in resources:
        raw = resource.get("outputs", {}).get("kubeconfigRaw")
        if resource["type"] == KUBECONFIG and raw:
            text = json.loads(raw["plaintext"]) if isinstance(raw, Mapping) else raw
            try:
                api = ClusterApi.of(text)
                api.get("/version")
            except ApiError:
                return None
            return api
    return None


def knows(api: ClusterApi, release: Release) -> bool:
    """Whether Helm has a record of a release. Raises ``ApiError``."""
    return any(_records(api, release))


def forget(api: ClusterApi, release: Release) -> None:
    """Take away every record of a release; what it installed stays. Raises ``ApiError``."""
    for path in list(_records(api, release)):
        api.delete(path)


def _records(api: ClusterApi, release: Release) -> Iterator[str]:
    secrets = f"/api/v1/namespaces/{release.namespace}/secrets"
    labels = urllib.parse.quote(f"owner=helm,name={release.name}")
    for secret in api.items(f"{secrets}?labelSelector={labels}"):
        yield f"{secrets}/{secret['metadata']['name']}"
