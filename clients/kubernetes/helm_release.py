"""Helm's own records of a release.

With them Helm refuses a second release of that name, for ever (facts/end-to-end.md 9). Without, it
installs anew over what is there, which it knows by its own labels, and loses nothing.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from clients.kubernetes.api import ClusterApi


@dataclass(frozen=True)
class Release:
    """A release, by its name and its namespace."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


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
