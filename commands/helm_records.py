"""Helm's records (release Secrets) of releases that are not in the Pulumi state.

A run that is killed while it installs a chart leaves such a record. Helm then refuses every further
install with "cannot re-use a name that is still in use".
"""

from __future__ import annotations

from typing import Any

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi
from clients.kubernetes.helm_release import Release, forget, knows
from clients.pulumi_cli import state
from settings.resource_types import PROVIDER

__all__ = ["Release", "api_of", "forget", "knows"]


def api_of(resources: list[dict[str, Any]]) -> ClusterApi | None:
    """Return the API of the cluster in the state; ``None`` if there is none or it does not answer.

    ``resources`` are the resources of the state, with secrets in plain text.
    """
    for resource in resources:
        raw = resource.get("inputs", {}).get("kubeconfig")
        if resource["type"] == PROVIDER and raw:
            try:
                api = ClusterApi.of(state.opened(raw))
                api.get("/version")
            except OperationError:
                return None
            return api
    return None
