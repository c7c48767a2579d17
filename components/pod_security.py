"""Pod Security levels of our namespaces.

Talos enforces ``baseline`` everywhere but in kube-system; a chart that needs more says ``deployed``
and never starts (facts/charts.md 0.2). So each namespace is ours, and says what it needs.
"""

from __future__ import annotations

from typing import Literal

Level = Literal["privileged", "baseline", "restricted"]


def labels(level: Level) -> dict[str, str]:
    """The labels of a namespace that admits pods of this level."""
    return {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
