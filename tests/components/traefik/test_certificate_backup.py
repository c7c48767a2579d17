"""Certificates are kept encrypted, whole, and for their own castle alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyrage
import pytest

from backup.store import BackupError, Folder
from components.traefik import certificate_backup
from settings.models import Settings
from settings.problems import SettingsError
from tests.recorder import settings_with

KEY = str(pyrage.x25519.Identity.generate())
CONTENT = b'{"letsencrypt": {"Account": "\xc3\xa4"}}\n'


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of these settings stands in plain text, which is warned of."""
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)


def recording(folder: Path | str, key: str = KEY) -> Settings:
    traefik = {"acme": {"backup": {"target": str(folder)}}}
    return settings_with(traefik=traefik, sops={"age_key": key})


def keep(settings: Settings, server: str, content: bytes, key: str = KEY) -> None:
    name = certificate_backup.name_of(settings.stack, server)
    certificate_backup.place_of(settings).write(name, certificate_backup.seal(content, key))


def test_what_is_kept_is_read_by_its_key_alone(tmp_path: Path) -> None:
    sealed = certificate_backup.seal(CONTENT, KEY)
    assert b"letsencrypt" not in sealed
    assert certificate_backup.unseal(sealed, KEY) == CONTENT
    with pytest.raises(BackupError, match="was encrypted for another key, or is damaged"):
        certificate_backup.unseal(sealed, str(pyrage.x25519.Identity.generate()))
    with pytest.raises(BackupError, match="or is damaged"):
        certificate_backup.unseal(sealed[:-1], KEY)


def test_a_castle_gets_back_what_was_kept_and_each_server_its_own(tmp_path: Path) -> None:
    settings = recording(tmp_path / "kept")
    assert certificate_backup.read_certificates(settings) == {}
    keep(settings, "production", CONTENT)
    assert certificate_backup.read_certificates(settings) == {"acme.json": CONTENT.decode()}
    keep(settings, "staging", b"{}")
    opened = certificate_backup.read_certificates(settings)
    assert opened == {"acme.json": CONTENT.decode(), "acme-staging.json": "{}"}


def test_another_castle_gets_nothing_of_it(tmp_path: Path) -> None:
    settings = recording(tmp_path)
    keep(settings, "production", CONTENT)
    other = Settings.model_construct(**{**dict(settings), "stack": "ha"})
    assert certificate_backup.read_certificates(other) == {}


def test_without_a_key_nothing_is_looked_for() -> None:
    assert certificate_backup.read_certificates(settings_with()) is None


def test_a_folder_in_the_project_is_made_with_all_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_with(sops={"age_key": KEY})
    keep(settings, "production", CONTENT)
    folder = tmp_path / ".state" / "certificates"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "homelab-production.age").stat().st_mode & 0o777 == 0o600


def test_a_share_that_is_not_mounted_is_not_made_up(tmp_path: Path) -> None:
    settings = recording(tmp_path / "nas" / "castle")
    with pytest.raises(BackupError, match="cannot be written: No such file or directory"):
        keep(settings, "production", CONTENT)
    assert list(tmp_path.iterdir()) == []


def test_a_share_whose_server_is_off_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks it is blocked until it is there again, and so the program could not end."""
    monkeypatch.setattr("backup.store.ANSWER_LIMIT", 0.1)
    is_there = threading.Event()
    monkeypatch.setattr(Path, "read_bytes", lambda _: is_there.wait(60))
    monkeypatch.setattr("os.fsync", lambda _: is_there.wait(60))
    before = set(threading.enumerate())
    with pytest.raises(BackupError, match=r"does not answer within 0\.1 s: is its server on\?"):
        Folder(tmp_path).read("a.age")
    with pytest.raises(BackupError, match=r"does not answer within 0\.1 s"):
        Folder(tmp_path).write("a.age", b"new")
    blocked = set(threading.enumerate()) - before
    assert len(blocked) == 2 and all(thread.daemon for thread in blocked)
    is_there.set()
    for thread in blocked:
        thread.join()


def test_the_newest_and_four_older_are_kept(tmp_path: Path) -> None:
    place = Folder(tmp_path)
    for number in range(8):
        place.write("homelab-production.age", str(number).encode())
        place.write("homelab-staging.age", b"s")
    kept = {it.name: it.read_bytes() for it in tmp_path.glob("homelab-production*")}
    assert kept == {
        "homelab-production.age": b"7",
        "homelab-production.1.age": b"6",
        "homelab-production.2.age": b"5",
        "homelab-production.3.age": b"4",
        "homelab-production.4.age": b"3",
    }
    assert {it.stat().st_mode & 0o777 for it in tmp_path.iterdir()} == {0o600}


def test_a_disk_that_is_full_leaves_the_newest_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Folder(tmp_path)
    place.write("homelab-production.age", b"good")

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BackupError, match="No space left on device"):
        place.write("homelab-production.age", b"never whole")
    assert {it.name: it.read_bytes() for it in tmp_path.iterdir()} == {
        "homelab-production.age": b"good"
    }


def test_what_cannot_be_put_back_is_said_with_a_cure(tmp_path: Path) -> None:
    settings = recording(tmp_path)
    keep(settings, "staging", CONTENT, key=str(pyrage.x25519.Identity.generate()))
    with pytest.raises(SettingsError) as refused:
        certificate_backup.read_certificates(settings)
    (problem,) = refused.value.problems
    assert problem.path == "traefik.acme.backup.target"
    assert problem.reason == "homelab-staging.age: was encrypted for another key, or is damaged"
    assert "sops.age_key" in problem.fix
    assert KEY not in str(refused.value)


def test_more_than_a_secret_of_kubernetes_holds_is_said_beforehand(tmp_path: Path) -> None:
    settings = recording(tmp_path)
    keep(settings, "production", b"x" * certificate_backup.MOST)
    assert certificate_backup.read_certificates(settings)
    keep(settings, "staging", b"x")
    with pytest.raises(SettingsError, match="holds 1048577 bytes of certificates"):
        certificate_backup.read_certificates(settings)
