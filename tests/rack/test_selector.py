"""Disk selectors."""

from __future__ import annotations

import pytest

from tests.e2e.rack.talos.selector import SelectorError, matches

GIB = 1024**3


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("!system_disk && disk.size >= 43u * GiB && disk.size < 44u * GiB", True),
        ("system_disk", False),
        ("disk.size > 100u * GB", False),
        ("disk.dev_path == '/dev/sdb' || disk.transport == \"nvme\"", True),
        ("(disk.size + 1u) != 43u * GiB && !disk.rotational", True),
        ("true", True),
    ],
)
def test_expressions(expression: str, expected: bool) -> None:
    disk = {"size": 43 * GIB, "dev_path": "/dev/sdb", "transport": "virtio", "rotational": False}
    assert matches(expression, disk, system_disk=False) is expected


@pytest.mark.parametrize(
    "expression",
    ["", "disk.size >=", "disk.colour == 'red'", "disk.size", "size(disk.symlinks) > 0", "other"],
)
def test_what_is_not_understood_is_refused(expression: str) -> None:
    with pytest.raises(SelectorError):
        matches(expression, {"size": 43 * GIB}, system_disk=False)
