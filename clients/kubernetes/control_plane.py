"""How Kubernetes marks control planes, for what runs there or must tolerate them."""

from __future__ import annotations

LABEL = "node-role.kubernetes.io/control-plane"
"""Label of every control plane, and key of its taint."""
TOLERATION = {"key": LABEL, "operator": "Exists", "effect": "NoSchedule"}
"""What a pod needs to run on a control plane."""
