"""Label and toleration for pods that run on control planes."""

from __future__ import annotations

LABEL = "node-role.kubernetes.io/control-plane"
"""Label of control planes, and key of their taint."""
TOLERATION = {"key": LABEL, "operator": "Exists", "effect": "NoSchedule"}
"""Toleration that a pod needs to run on a control plane."""
