"""The health of Flux, read from the conditions of its objects."""

from __future__ import annotations

from typing import Any

import pytest

from clients.kubernetes import flux_health


def condition(status: str, message: str, generation: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"generation": 1},
        "status": {
            "conditions": [
                {
                    "type": "Ready",
                    "status": status,
                    "message": message,
                    "observedGeneration": generation,
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("found", "sentence", "ready"),
    [
        (condition("True", "stored artifact"), "ready: stored artifact", True),
        (condition("False", "no such branch"), "not ready: no such branch", False),
        (condition("Unknown", "fetching"), "in progress: fetching", False),
        # The condition belongs to an older generation, so to the previous URL.
        (condition("True", "stored artifact", generation=0), "ready: stored artifact", False),
        ({"metadata": {}}, "not processed by Flux yet", False),
        (None, "missing", False),
    ],
)
def test_health_is_read_from_the_ready_condition(found: Any, sentence: str, ready: bool) -> None:
    assert flux_health.sentence(found) == sentence
    assert flux_health.is_ready(found) is ready


def test_health_is_unknown_if_the_cluster_cannot_be_read() -> None:
    health = flux_health.look("no: kubeconfig")
    assert health == dict.fromkeys(
        ("controllers", "source", "applied"), "unknown: the kubeconfig cannot be read"
    )
