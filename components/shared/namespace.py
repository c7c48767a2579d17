"""Namespaces with the Pod Security level that their pods need.

Talos enforces the level ``baseline`` in all namespaces except kube-system. A chart whose pods need
more would install without an error, but its pods would never start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes

Level = Literal["privileged", "baseline", "restricted"]


def labels(level: Level) -> dict[str, str]:
    """Return the labels of a namespace that allows pods of this level."""
    return {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}


def make_namespace(
    parent: pulumi.Resource,
    resource_name: str,
    name: str,
    level: Level,
    after: Sequence[pulumi.Resource] = (),
) -> kubernetes.core.v1.Namespace:
    """Create the namespace ``name`` as a child of ``parent``, after the resources ``after``."""
    return kubernetes.core.v1.Namespace(
        resource_name,
        metadata={"name": name, "labels": labels(level)},
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=after,
            # Kubernetes deletes a namespace only after all objects in it.
            custom_timeouts=pulumi.CustomTimeouts(create="2m", update="2m", delete="10m"),
        ),
    )
