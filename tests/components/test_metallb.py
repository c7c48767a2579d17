"""The values of MetalLB's chart."""

from __future__ import annotations

from components import metallb


def test_metallb_announces_from_the_node_that_runs_traefik_also_if_it_is_a_control_plane() -> None:
    assert metallb.VALUES["speaker"]["ignoreExcludeLB"] is True
    assert metallb.VALUES["frrk8s"] == {"enabled": False}
    assert metallb.VALUES["crds"] == {"validationFailurePolicy": "Ignore"}
