"""Our namespaces, each with the Pod Security level that its pods need.

Talos enforces ``baseline`` everywhere but in kube-system; a chart that needs more says ``deployed``
and never starts (facts/charts.md 0.2). So each namespace is ours, and says what it admits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes

Level = Literal["privileged", "baseline", "restricted"]


def labels(level: Level) -> dict[str, str]:
    """The labels of a namespace that admits pods of this level."""
    return {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}


def make_namespace(
    parent: pulumi.Resource,
    resource_name: str,
    name: str,
    level: Level,
    after: Sequence[pulumi.Resource] = (),
) -> kubernetes.core.v1.Namespace:
    """A namespace ``name`` that belongs to ``parent`` and is made once ``after`` is there."""
    return kubernetes.core.v1.Namespace(
        resource_name,
        metadata={"name": name, "labels": labels(level)},
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=after,
            # It goes only when all that is in it has gone.
            custom_timeouts=pulumi.CustomTimeouts(create="2m", update="2m", delete="10m"),
        ),
    )
