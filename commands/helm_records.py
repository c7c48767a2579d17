"""Helm's own record of a release, for one that the engine does not know.

A run that was killed while a chart was installed leaves a release of its name: Helm then refuses
with "cannot re-use a name that is still in use", for ever (facts/end-to-end.md 9).
"""

from __future__ import annotations

from typing import Any

from clients.kubernetes.api import ApiError, ClusterApi
from clients.kubernetes.helm_release import Release, forget, knows
from clients.pulumi_cli import state

__all__ = ["PROVIDER", "Release", "api_of", "forget", "knows"]

PROVIDER = "pulumi:providers:kubernetes"


def api_of(resources: list[dict[str, Any]]) -> ClusterApi | None:
    """The API of the castle that a state describes, if it answers.

    ``resources`` are those of the state with its secrets in plain text.
    """
    for resource in resources:
        raw = resource.get("inputs", {}).get("kubeconfig")
        if resource["type"] == PROVIDER and raw:
            try:
                api = ClusterApi.of(state.opened(raw))
                api.get("/version")
            except ApiError:
                return None
            return api
    return None
