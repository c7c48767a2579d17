"""Reads the health of Flux for the stack outputs, one line per part."""

from __future__ import annotations

from typing import Any

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi

_SYNC = "namespaces/flux-system/{}/flux-system"
PARTS = {
    "controllers": "/apis/fluxcd.controlplane.io/v1/namespaces/flux-system/fluxinstances/flux",
    "source": f"/apis/source.toolkit.fluxcd.io/v1/{_SYNC.format('gitrepositories')}",
    "applied": f"/apis/kustomize.toolkit.fluxcd.io/v1/{_SYNC.format('kustomizations')}",
}
"""Path of the object of each part, by its key in the stack outputs."""


def look(kubeconfig: str) -> dict[str, str]:
    """Read the health of all parts by key. A failed request gives ``unknown: …`` and no error.

    If the cluster is down, this takes one request timeout (10 s), also in a preview.
    """
    try:
        api = ClusterApi.of(kubeconfig)
        return {part: sentence(api.get(path)) for part, path in PARTS.items()}
    except OperationError as error:
        return dict.fromkeys(PARTS, f"unknown: {error}")


def is_ready(found: dict[str, Any] | None) -> bool:
    """Whether an object is ready, and its status is not older than its last change."""
    ready = _ready(found or {})
    generation = (found or {}).get("metadata", {}).get("generation")
    return ready.get("status") == "True" and ready.get("observedGeneration") == generation


def sentence(found: dict[str, Any] | None) -> str:
    """The health of an object as text, with its own message."""
    if found is None:
        return "missing"
    if not (ready := _ready(found)):
        return "not processed by Flux yet"
    state = {"True": "ready", "False": "not ready"}.get(ready.get("status", ""), "in progress")
    return f"{state}: {ready.get('message', 'no reason given')}"


def _ready(found: dict[str, Any]) -> dict[str, Any]:
    conditions: dict[str, dict[str, Any]] = {
        it.get("type"): it for it in found.get("status", {}).get("conditions", ())
    }
    return conditions.get("Ready", {})
