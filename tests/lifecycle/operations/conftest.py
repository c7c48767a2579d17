"""Each test has its own folder for the locks of operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.operations import lock


@pytest.fixture(autouse=True)
def _temporary_lock_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")
