"""The status of a node as Kubernetes reports it."""

from __future__ import annotations

from typing import Any

import pytest

from lifecycle.operations.cluster import NodeStatus, parse_node_status


def kubernetes_node(ready: str) -> dict[str, Any]:
    return {
        "metadata": {"annotations": {"extensions.talos.dev/schematic": "abc"}},
        "status": {
            "nodeInfo": {"bootID": "first", "osImage": "Talos (v1.13.9)"},
            "conditions": [
                {"type": "MemoryPressure", "status": "True"},
                {"type": "Ready", "status": ready},
            ],
        },
    }


@pytest.mark.parametrize(
    ("condition", "is_ready"), [("True", True), ("False", False), ("Unknown", False)]
)
def test_boot_version_schematic_and_readiness_are_read(condition: str, is_ready: bool) -> None:
    assert parse_node_status(kubernetes_node(condition)) == NodeStatus(
        boot_id="first", talos="v1.13.9", schematic="abc", is_ready=is_ready
    )


def test_a_node_that_never_reported_is_not_ready_and_has_no_version() -> None:
    assert parse_node_status({"metadata": {}, "status": {}}) == NodeStatus(
        boot_id="", talos="", schematic=None, is_ready=False
    )
