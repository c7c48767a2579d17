"""How Flux is doing, in one line a part, for the stack's outputs."""

from __future__ import annotations

from typing import Any

from clients.kubernetes.api import ApiError, ClusterApi

_SYNC = "namespaces/flux-system/{}/flux-system"
PARTS = {
    "controllers": "/apis/fluxcd.controlplane.io/v1/namespaces/flux-system/fluxinstances/flux",
    "source": f"/apis/source.toolkit.fluxcd.io/v1/{_SYNC.format('gitrepositories')}",
    "applied": f"/apis/kustomize.toolkit.fluxcd.io/v1/{_SYNC.format('kustomizations')}",
}
"""What is looked at, by the word that the outputs have for it."""


def look(kubeconfig: str) -> dict[str, str]:
    """One look, and never an error: what cannot be seen is said so.

    A cluster that is down costs a preview the ten seconds of one answer.
    """
    try:
        api = ClusterApi.of(kubeconfig)
        return {word: sentence(api.get(path)) for word, path in PARTS.items()}
    except ApiError as error:
        return dict.fromkeys(PARTS, f"unknown: {error}")


def is_ready(found: dict[str, Any] | None) -> bool:
    """Whether an object is ready, as it is now and not as it was before its last change."""
    ready = _ready(found or {})
    generation = (found or {}).get("metadata", {}).get("generation")
    return ready.get("status") == "True" and ready.get("observedGeneration") == generation


def sentence(found: dict[str, Any] | None) -> str:
    """The object's own word on whether it is ready."""
    if found is None:
        return "missing"
    if not (ready := _ready(found)):
        return "not looked at by Flux yet"
    word = {"True": "ready", "False": "not ready"}.get(ready.get("status", ""), "in progress")
    return f"{word}: {ready.get('message', 'no reason given')}"


def _ready(found: dict[str, Any]) -> dict[str, Any]:
    conditions: dict[str, dict[str, Any]] = {
        it.get("type"): it for it in found.get("status", {}).get("conditions", ())
    }
    return conditions.get("Ready", {})
