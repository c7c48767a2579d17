"""User volumes of patches that do not match the data disk are accepted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.recorder import settings_with

VOLUME = {"apiVersion": "v1alpha1", "kind": "UserVolumeConfig", "name": "scratch"}


@pytest.mark.parametrize(
    "match",
    [
        "disk.size > 200u * GiB",
        "!system_disk && disk.size < 43u * GiB",
        "!system_disk && disk.transport == 'nvme'",
        "system_disk",
        "",
    ],
)
def test_a_selector_that_may_match_another_disk_is_accepted(match: str) -> None:
    provisioning = {"diskSelector": {"match": match}, "minSize": "1GiB"}
    _load({**VOLUME, "provisioning": provisioning})


def test_a_directory_volume_is_accepted() -> None:
    _load({**VOLUME, "volumeType": "directory"})


def test_the_last_selector_of_a_volume_counts() -> None:
    first = {**VOLUME, "provisioning": {"diskSelector": {"match": "disk.size > 20u * GiB"}}}
    last = {**VOLUME, "provisioning": {"diskSelector": {"match": "disk.size > 200u * GiB"}}}
    settings_with(nodes={"workers": {"patches": [first, last]}})


def _load(patch: dict[str, Any]) -> None:
    settings_with(nodes={"workers": {"patches": [patch]}, "control_planes": {"patches": [patch]}})
