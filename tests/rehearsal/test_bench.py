"""The benchmark of the rehearsal: it measures whole commands, and each rehearsal succeeds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rehearsal import bench


def test_every_size_is_measured_beside_the_imports(tmp_path: Path) -> None:
    found = bench.measure(tmp_path, sizes=(3, 4), rounds=1)
    assert list(found) == [bench.IMPORTS, "3 workers", "4 workers"]
    assert all(spent > 0 for spent in found.values())


def test_a_rehearsal_that_fails_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "REHEARSE", "raise SystemExit(2)")
    with pytest.raises(subprocess.CalledProcessError):
        bench.measure(tmp_path, sizes=(3,), rounds=1)
