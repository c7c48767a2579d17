"""The versions of the report, and the next possible upgrades."""

from __future__ import annotations

import pytest

from rehearsal.run import Rehearsal
from report import versions
from tests.rehearsal.conftest import Vary


@pytest.mark.parametrize(
    ("talos", "kubernetes", "part", "expected"),
    [
        (
            "v1.13.9",
            "v1.36.3",
            0,
            "v1.13.x is the newest version that the Talos provider supports.",
        ),
        ("v1.13.9", "v1.36.3", 1, "v1.36.x is the newest version that Talos v1.13.9 supports."),
        (
            "v1.13.9",
            "v1.34.0",
            1,
            "Talos v1.13.9 supports up to v1.36.x: upgrade one minor version at a time.",
        ),
        ("v1.12.7", "v1.35.0", 0, "v1.13.x also fits Kubernetes v1.35.0."),
        ("v1.12.7", "v1.30.0", 0, "v1.13.x needs Kubernetes v1.31 or newer first."),
        ("v1.12.7", "v1.35.0", 1, "Newer than v1.35.x needs Talos v1.13.x first."),
    ],
)
def test_each_version_names_the_next_possible_upgrade(
    talos: str,
    kubernetes: str,
    part: int,
    expected: str,
    vary: Vary,
) -> None:
    settings = vary({"cluster.talos": talos, "cluster.kubernetes": kubernetes}).settings
    assert versions.list_versions(settings)[part].newer == expected


def test_charts_and_packages_are_in_the_versions(homelab: Rehearsal) -> None:
    found = {it.name: it for it in versions.list_versions(homelab.settings)}
    assert found["longhorn chart"].version == homelab.settings.longhorn.chart_version
    assert found["longhorn chart"].fits == "1.12.1 or newer, older than 1.13.0"
    assert {"pulumi", "pulumi-proxmoxve", "pulumiverse-talos", "pulumi-kubernetes"} <= set(found)
