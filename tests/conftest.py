"""Distributes the tests to the processes of ``pytest -n 2 --dist loadgroup``."""

from __future__ import annotations

import pytest

from settings.project import PROJECT_FOLDER

TESTS = PROJECT_FOLDER / "tests"
GROUPS = {
    "rack": "rack",
    "invariants": "rehearsals",
    "rehearsal": "rehearsals",
    "report": "rehearsals",
}
"""By folder: tests that run in the same process. Only one rack can run at a time, because racks
have the same addresses. Tests of rehearsals share their results (``rehearsals.py``)."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the group of the test's folder."""
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    if folder in GROUPS:
        item.add_marker(pytest.mark.xdist_group(GROUPS[folder]))
