"""A Kubernetes API in memory, as far as stand-ins use it: objects by their paths."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from tests.e2e.rack.kubernetes.client import KubernetesClient

Thing = dict[str, Any]


class FakeKubernetesApi(KubernetesClient):
    """Keeps what is created, merges patches, and has every type."""

    def __init__(self) -> None:
        self.objects: dict[str, Thing] = {}
        self.deletions: list[tuple[str, int | None]] = []
        """Paths and grace periods."""
        self._created = 0

    def put(self, path: str, thing: Thing) -> Thing:
        """Have an object, with its status."""
        self._created += 1
        stored = copy.deepcopy(thing)
        metadata = stored.setdefault("metadata", {})
        parts = path.split("/")
        metadata["name"] = parts[-1]
        if "namespaces" in parts[:-2]:
            metadata["namespace"] = parts[parts.index("namespaces") + 1]
        metadata.setdefault("creationTimestamp", f"2026-01-01T00:00:{self._created % 60:02}Z")
        self.objects[path] = stored
        return stored

    async def get(self, path: str) -> Thing | None:
        found = self.objects.get(path)
        if found is None and path.endswith("/nodes"):
            return {"items": []}  # the type is known
        return copy.deepcopy(found)

    async def list(self, path: str) -> list[Thing]:
        base, _, plural = path.rpartition("/")
        pattern = re.compile(f"{re.escape(base)}(/namespaces/[^/]+)?/{plural}/[^/]+")
        found = [thing for at, thing in sorted(self.objects.items()) if pattern.fullmatch(at)]
        return copy.deepcopy(found)

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        at = f"{path}/{body['metadata']['name']}"
        assert at not in self.objects, at
        self.put(at, {key: value for key, value in body.items() if key != "status"})

    async def patch(self, path: str, body: Mapping[str, Any]) -> bool:
        found = self.objects.get(path.removesuffix("/status"))
        if found is not None:
            is_status = path.endswith("/status")
            _merge(found, {k: v for k, v in body.items() if (k == "status") is is_status})
        return found is not None

    async def delete(self, path: str, *, grace_period_s: int | None = None) -> None:
        self.deletions.append((path, grace_period_s))
        self.objects.pop(path, None)


def _merge(target: Thing, change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif isinstance(value, Mapping):
            target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
