"""Private files and records: who can read them, and what a failure leaves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from settings.state_files import JsonRecord, write_private_file


@dataclass(frozen=True)
class Content:
    number: int


RECORD: JsonRecord[Content] = JsonRecord("numbers", Content)


def test_a_file_of_another_mode_becomes_private(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(b"old")
    file.chmod(0o644)
    write_private_file(file, b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_failure_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "kubeconfig"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private_file(file, b"new")
    assert [it.read_bytes() for it in tmp_path.iterdir()] == [b"old"]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.save(tmp_path, "homelab", Content(1))
    assert RECORD.load(tmp_path, "homelab") == Content(1)
    assert RECORD.load(tmp_path, "ha") is None
    assert RECORD.file(tmp_path, "homelab").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number": "many"}'])
def test_an_invalid_record_is_no_record(tmp_path: Path, text: str) -> None:
    RECORD.save(tmp_path, "homelab", Content(1))
    RECORD.file(tmp_path, "homelab").write_text(text, encoding="utf-8")
    assert RECORD.load(tmp_path, "homelab") is None
