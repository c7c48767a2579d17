"""``make bench``: it measures complete processes, and fails if one of them fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.rehearsal import bench


def test_bench_measures_the_imports_and_every_size(tmp_path: Path) -> None:
    found = bench.measure(tmp_path, sizes=(3, 4), rounds=1)
    assert list(found) == [bench.IMPORTS, "3 workers", "4 workers"]
    assert all(spent > 0 for spent in found.values())


def test_bench_fails_if_a_rehearsal_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "REHEARSE", "raise SystemExit(2)")
    with pytest.raises(subprocess.CalledProcessError):
        bench.measure(tmp_path, sizes=(3,), rounds=1)
