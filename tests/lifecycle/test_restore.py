"""A castle that begins with a snapshot: what is taken from the file, and what is refused."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import pytest

from lifecycle import bootstrap, restore
from lifecycle.bootstrap import BootstrapProvider, RestoreRefusedError
from lifecycle.restore import plan
from settings.models import Settings
from settings.problems import SettingsError
from settings.running import RunningStack
from tests.backup.archives import KEY, RECIPIENT, SNAPSHOT, archive
from tests.recorder import settings_with

FILE = "kept.db.age"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, with a snapshot in it."""
    monkeypatch.setattr(restore, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(restore, "STATE_FOLDER", tmp_path / ".state")
    (tmp_path / FILE).write_bytes(archive().sealed(RECIPIENT))
    return tmp_path


def asked(kubernetes: str = "v1.36.3") -> Settings:
    """Settings that ask for the restore."""
    cluster = {"restore_from": FILE, "kubernetes": kubernetes}
    return settings_with(cluster=cluster, sops={"age_key": str(KEY)})


def test_without_the_setting_there_is_nothing_to_restore(project: Path) -> None:
    assert plan(settings_with()) is None


def test_a_new_castle_gets_the_machine_secrets_and_a_living_one_does_not(project: Path) -> None:
    new = plan(asked())
    assert new is not None and new.secrets == archive().secrets
    (project / FILE).unlink()
    living = plan(asked().with_running(RunningStack(has_machine_secrets=True)))
    assert living is not None and living.secrets is None and living.import_id() is None


def test_the_secrets_are_given_once_and_never_lie_on_a_disk(project: Path) -> None:
    new = plan(asked())
    assert new is not None
    pipe = new.import_id()
    assert pipe is not None and Path(pipe).is_fifo()
    assert Path(pipe).stat().st_mode & 0o777 == 0o600
    assert Path(pipe).read_text() == archive().secrets
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(5)
    assert not Path(pipe).exists()
    # The engine takes another name for another import, and would make the secrets anew.
    assert new.import_id() == pipe
    Path(pipe).read_text()


@pytest.mark.parametrize(
    ("content", "version", "reason"),
    [
        (None, "v1.36.3", "cannot be read: No such file or directory"),
        (b"", "v1.36.3", "is an empty file"),
        (b"nothing", "v1.36.3", "is not encrypted for sops.age_key"),
        (archive("v1.37.0").sealed(RECIPIENT), "v1.36.3", "Kubernetes v1.37.0, newer than"),
        (archive("v1.34.9").sealed(RECIPIENT), "v1.36.3", "Kubernetes v1.34.9, too old for"),
        (archive("v1.35.9").sealed(RECIPIENT), "v1.36.3", None),
        (archive("v1.36.9").sealed(RECIPIENT), "v1.36.3", None),
    ],
)
def test_a_file_that_will_not_do_is_refused_beforehand(
    project: Path, content: bytes | None, version: str, reason: str | None
) -> None:
    (project / FILE).unlink()
    if content is not None:
        (project / FILE).write_bytes(content)
    settings = asked(version)
    if reason is None:
        assert plan(settings)
        return
    with pytest.raises(SettingsError) as raised:
        plan(settings)
    (problem,) = raised.value.problems
    assert (problem.path, problem.value) == ("cluster.restore_from", FILE)
    assert reason in problem.reason


BORN = {"node": "192.168.1.253"}


def test_a_bootstrap_is_never_repeated() -> None:
    for news in (BORN, BORN | {"restore_from": FILE}):
        assert BootstrapProvider().diff("", BORN, news).changes is False


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """What etcd was begun with."""
    snapshots: list[bytes | None] = []
    monkeypatch.setattr(bootstrap, "bootstrap", lambda props, snapshot: snapshots.append(snapshot))
    return snapshots


def inputs(project: Path, authority: str) -> dict[str, Any]:
    return BORN | {
        "ca_certificate": authority,
        "restore_from": FILE,
        "archive": str(project / FILE),
        "age_key": str(KEY),
    }


def test_etcd_begins_with_the_snapshot(project: Path, begun: list[bytes | None]) -> None:
    result = BootstrapProvider().create(inputs(project, archive().authority))
    assert begun == [SNAPSHOT]
    assert result.outs == BORN | {"restored_from": FILE}


def test_machines_with_other_secrets_are_left_alone(
    project: Path, begun: list[bytes | None]
) -> None:
    other = base64.b64encode(b"another authority").decode()
    with pytest.raises(RestoreRefusedError, match="other machine secrets"):
        BootstrapProvider().create(inputs(project, other))
    (project / FILE).unlink()
    with pytest.raises(RestoreRefusedError, match="cannot be read.*put the file back"):
        BootstrapProvider().create(inputs(project, archive().authority))
    assert begun == []
