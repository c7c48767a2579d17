"""Backups of certificates are encrypted, complete and separate for each stack."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyrage
import pytest

from backup.store import BackupError, FolderStore
from components.traefik import certificate_backup
from settings.models import Settings
from settings.problems import SettingsError
from tests.recorder import settings_with

KEY = str(pyrage.x25519.Identity.generate())
CONTENT = b'{"letsencrypt": {"Account": "\xc3\xa4"}}\n'


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suppress the warning that the age key of these settings is in plain text."""
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)


def settings_for(folder: Path | str, key: str = KEY) -> Settings:
    traefik = {"acme": {"backup": {"target": str(folder)}}}
    return settings_with(traefik=traefik, sops={"age_key": key})


def save(settings: Settings, server: str, content: bytes, key: str = KEY) -> None:
    name = certificate_backup.backup_name(settings.stack, server)
    certificate_backup.open_store(settings).write(name, certificate_backup.seal(content, key))


def test_a_backup_can_be_decrypted_with_its_own_key_only(tmp_path: Path) -> None:
    sealed = certificate_backup.seal(CONTENT, KEY)
    assert b"letsencrypt" not in sealed
    assert certificate_backup.unseal(sealed, KEY) == CONTENT
    with pytest.raises(BackupError, match="was encrypted for another key, or is damaged"):
        certificate_backup.unseal(sealed, str(pyrage.x25519.Identity.generate()))
    with pytest.raises(BackupError, match="or is damaged"):
        certificate_backup.unseal(sealed[:-1], KEY)


def test_read_certificates_returns_the_saved_file_of_each_server(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "backups")
    assert certificate_backup.read_certificates(settings) == {}
    save(settings, "production", CONTENT)
    assert certificate_backup.read_certificates(settings) == {"acme.json": CONTENT.decode()}
    save(settings, "staging", b"{}")
    opened = certificate_backup.read_certificates(settings)
    assert opened == {"acme.json": CONTENT.decode(), "acme-staging.json": "{}"}


def test_another_stack_does_not_read_the_backup(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    save(settings, "production", CONTENT)
    other = Settings.model_construct(**{**dict(settings), "stack": "ha"})
    assert certificate_backup.read_certificates(other) == {}


def test_no_backup_is_read_without_an_age_key() -> None:
    assert certificate_backup.read_certificates(settings_with()) is None


def test_the_default_folder_is_created_and_readable_by_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_with(sops={"age_key": KEY})
    save(settings, "production", CONTENT)
    folder = tmp_path / ".state" / "certificates"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "homelab-production.age").stat().st_mode & 0o777 == 0o600


def test_the_folder_of_an_unmounted_share_is_not_created(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "nas" / "castle")
    with pytest.raises(BackupError, match="cannot be written: No such file or directory"):
        save(settings, "production", CONTENT)
    assert list(tmp_path.iterdir()) == []


def test_a_share_that_does_not_answer_fails_after_a_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call on such a share blocks its thread, so the thread must be a daemon."""
    monkeypatch.setattr("backup.store.ANSWER_LIMIT", 0.1)
    share_answers = threading.Event()
    monkeypatch.setattr(Path, "read_bytes", lambda _: share_answers.wait(60))
    monkeypatch.setattr("os.fsync", lambda _: share_answers.wait(60))
    before = set(threading.enumerate())
    with pytest.raises(BackupError, match=r"does not answer within 0\.1 s: is its server on\?"):
        FolderStore(tmp_path).read("a.age")
    with pytest.raises(BackupError, match=r"does not answer within 0\.1 s"):
        FolderStore(tmp_path).write("a.age", b"new")
    blocked = set(threading.enumerate()) - before
    assert len(blocked) == 2 and all(thread.daemon for thread in blocked)
    share_answers.set()
    for thread in blocked:
        thread.join()


def test_the_store_retains_the_newest_backup_and_four_older_ones(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for number in range(8):
        store.write("homelab-production.age", str(number).encode())
        store.write("homelab-staging.age", b"s")
    retained = {it.name: it.read_bytes() for it in tmp_path.glob("homelab-production*")}
    assert retained == {
        "homelab-production.age": b"7",
        "homelab-production.1.age": b"6",
        "homelab-production.2.age": b"5",
        "homelab-production.3.age": b"4",
        "homelab-production.4.age": b"3",
    }
    assert {it.stat().st_mode & 0o777 for it in tmp_path.iterdir()} == {0o600}


def test_a_full_disk_does_not_damage_the_newest_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    store.write("homelab-production.age", b"good")

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BackupError, match="No space left on device"):
        store.write("homelab-production.age", b"incomplete")
    assert {it.name: it.read_bytes() for it in tmp_path.iterdir()} == {
        "homelab-production.age": b"good"
    }


def test_a_backup_for_another_key_is_reported_with_a_fix(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    save(settings, "staging", CONTENT, key=str(pyrage.x25519.Identity.generate()))
    with pytest.raises(SettingsError) as refused:
        certificate_backup.read_certificates(settings)
    (problem,) = refused.value.problems
    assert problem.path == "traefik.acme.backup.target"
    assert problem.reason == "homelab-staging.age: was encrypted for another key, or is damaged"
    assert "sops.age_key" in problem.fix
    assert KEY not in str(refused.value)


def test_a_backup_larger_than_a_kubernetes_secret_is_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    save(settings, "production", b"x" * certificate_backup.MAX_BYTES)
    assert certificate_backup.read_certificates(settings)
    save(settings, "staging", b"x")
    with pytest.raises(SettingsError, match="contains 1048577 bytes of certificates"):
        certificate_backup.read_certificates(settings)
