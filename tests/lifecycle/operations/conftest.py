"""What upkeep keeps on this machine lies in a folder of each test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.operations import lock


@pytest.fixture(autouse=True)
def _locks_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")
