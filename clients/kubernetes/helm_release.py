"""Finds and deletes Helm's records of a release (Secrets in its namespace).

If a record exists and the Pulumi state lacks the release, Helm refuses to install it ("cannot
re-use a name that is still in use"). Without the record Helm installs the release and adopts the
existing objects by their labels.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from clients.kubernetes.api import ClusterApi


@dataclass(frozen=True)
class Release:
    """Name and namespace of a release."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def knows(api: ClusterApi, release: Release) -> bool:
    """Whether Helm has a record of this release. Raises ``KubernetesError``."""
    return any(_records(api, release))


def forget(api: ClusterApi, release: Release) -> None:
    """Delete all records of a release, but no object that it installed.

    Raises ``KubernetesError``.
    """
    for path in list(_records(api, release)):
        api.delete(path)


def _records(api: ClusterApi, release: Release) -> Iterator[str]:
    secrets = f"/api/v1/namespaces/{release.namespace}/secrets"
    labels = urllib.parse.quote(f"owner=helm,name={release.name}")
    for secret in api.items(f"{secrets}?labelSelector={labels}"):
        yield f"{secrets}/{secret['metadata']['name']}"
