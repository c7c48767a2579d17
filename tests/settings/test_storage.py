"""How much of a data disk volumes can use."""

from __future__ import annotations

import pytest

from settings.storage import LEAST_DATA_DISK_GIB, capacity_gib, usable_gib


@pytest.mark.parametrize(("disk", "usable"), [(43, 38.6), (120, 107.9), (500, 449.9)])
def test_volumes_can_use_all_but_a_tenth(disk: int, usable: float) -> None:
    assert usable_gib(disk) == pytest.approx(usable, abs=0.1)
    assert usable_gib(disk) < capacity_gib(disk) < disk


def test_the_smallest_data_disk_has_room_for_volumes() -> None:
    assert usable_gib(LEAST_DATA_DISK_GIB) > 4
