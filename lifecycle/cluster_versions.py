"""What the two resources share that act if a version of the cluster changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi

from clients.talos import talosctl
from clients.tls import inputs_of

if TYPE_CHECKING:
    from lifecycle.node import OperationContext


@dataclass(frozen=True, kw_only=True)
class ClusterVersionArgs:
    """Arguments of ``EtcdSnapshot`` and ``KubernetesVersion``."""

    context: OperationContext
    """The stack tag, the Talos version, the control planes and the timeout of the lock."""
    kubernetes: str
    """Kubernetes version, with its leading v."""
    has_come_up: bool
    """Whether a node of the cluster was ready in an earlier run. Otherwise no update is needed."""
    credentials: pulumi.Output[Any]
    """A Talos client (secret)."""

    def inputs(self) -> dict[str, Any]:
        """The inputs that both resources have."""
        return {
            "cluster": self.context.cluster,
            "talos": self.context.talos,
            "kubernetes": self.kubernetes,
            "control_planes": self.context.control_planes,
            "return_s": self.context.return_s,
            "has_come_up": self.has_come_up,
            **inputs_of(self.credentials),
        }


def require_talosctl(news: Mapping[str, Any]) -> None:
    """Raise ``TalosctlError`` if talosctl is missing or too old. A new cluster needs none."""
    if news["has_come_up"]:
        talosctl.require(news["talos"])
