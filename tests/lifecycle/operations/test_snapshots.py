"""Snapshot files: encrypted if there is a key, readable by the owner only, only the newest."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.etcd_archive import Archive
from lifecycle.operations import snapshots
from tests.backup.archives import KEY, RECIPIENT, SNAPSHOT, archive


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the snapshots."""
    folder = tmp_path / "state" / "etcd"
    monkeypatch.setattr(snapshots, "FOLDER", folder)
    return folder


def test_a_snapshot_is_encrypted_with_a_key_and_plain_without(folder: Path) -> None:
    sealed = snapshots.store_snapshot(archive(), "castle", RECIPIENT)
    assert sealed.name.endswith(".db.age")
    assert Archive.opened(sealed.read_bytes(), str(KEY)) == archive()
    plain = snapshots.store_snapshot(archive(), "castle", None)
    assert plain.suffix == ".db" and plain.read_bytes() == SNAPSHOT
    for path in (sealed, plain):
        assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(folder.iterdir()) == sorted([sealed, plain])


def test_only_the_newest_snapshots_of_a_stack_are_retained(folder: Path) -> None:
    folder.mkdir(parents=True)
    for day in range(10, 19):
        (folder / f"castle-202611{day}T100000Z.db{'.age' if day % 2 else ''}").touch()
    other = folder / "castle-two-20200101T100000Z.db"
    other.touch()
    newest = snapshots.store_snapshot(archive(), "castle", RECIPIENT)
    kept = snapshots.stored_files("castle")
    assert len(kept) == snapshots.MAX_FILES and newest in kept
    assert [path.name[7:15] for path in kept if path != newest][-1] == "20261118"
    assert other.exists() and snapshots.stored_files("castle-two") == [other]


def test_a_snapshot_of_the_last_hour_is_fresh(folder: Path) -> None:
    assert not snapshots.is_fresh("castle")
    snapshots.store_snapshot(archive(), "castle", RECIPIENT)
    assert snapshots.is_fresh("castle") and not snapshots.is_fresh("castle-two")
