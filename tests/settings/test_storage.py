"""The space on a data disk for volumes."""

from __future__ import annotations

import pytest

from settings import storage


@pytest.mark.parametrize(
    ("disk", "capacity", "usable"),
    [(2, 1.94, 1.74), (43, 42.94, 38.64), (500, 499.75, 449.78), (8192, 8190.0, 7371.0)],
)
def test_usable_space_excludes_partition_table_log_and_a_tenth(
    disk: int, capacity: float, usable: float
) -> None:
    assert storage.capacity_gib(disk) == pytest.approx(capacity, abs=0.01)
    assert storage.usable_gib(disk) == pytest.approx(usable, abs=0.01)


def test_the_larger_percentage_limits_the_usable_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RESERVED_PERCENT", 30)
    assert storage.usable_gib(43) == pytest.approx(42.94 * 0.7, abs=0.01)


def test_the_smallest_data_disk_has_space_for_volumes() -> None:
    assert storage.usable_gib(storage.LEAST_DATA_DISK_GIB) > 4
