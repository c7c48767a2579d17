"""The storage after an ``up``: what is printed and kept; no error of it fails the ``up``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clients.kubernetes.api import ApiError, ClusterApi
from clients.kubernetes.longhorn import read_storage
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import Session
from commands import __main__ as engine
from doctor import cluster_storage, storage_record
from rehearsal.run import rehearse
from settings.project import PROJECT_FOLDER
from tests.commands.conftest import Cli, opened_state
from tests.longhorn_objects import LonghornObjects, healthy_cluster
from tests.rehearsal.conftest import write_stack

KUBECONFIG = "kind: Config, with the admin's key"
EXPORT = ["stack", "export"]


@pytest.fixture
def project(fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stack of two workers, whose cluster exists in the state."""
    write_stack(tmp_path, "homelab", {"nodes.workers.count": 2, "cluster.name": "castle"})
    settings = rehearse("homelab", tmp_path).settings
    monkeypatch.setattr(engine, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(stack_settings, "settings", lambda session: settings)
    fake.answers("stack export", opened_state(KUBECONFIG))
    monkeypatch.chdir(PROJECT_FOLDER)
    return tmp_path


@pytest.fixture
def longhorn(monkeypatch: pytest.MonkeyPatch) -> LonghornObjects:
    """What the cluster behind the kubeconfig of the stack has."""
    found = healthy_cluster()

    def of(kubeconfig: str) -> LonghornObjects:
        assert kubeconfig.strip() == KUBECONFIG
        return found

    monkeypatch.setattr(ClusterApi, "of", of)
    return found


def up(capfd: pytest.CaptureFixture[str]) -> str:
    assert engine.main(["up", "--", "--yes"]) == 0
    out, err = capfd.readouterr()
    assert KUBECONFIG not in out + err
    return out


def test_healthy_storage_is_recorded_and_not_mentioned(
    project: Path, fake: Cli, longhorn: LonghornObjects, capfd: pytest.CaptureFixture[str]
) -> None:
    assert up(capfd) == ""
    record = storage_record.load(project, "homelab")
    assert record
    assert [(it.node, it.zone) for it in record.storage.disks] == [
        ("castle-worker-1", "pve1"),
        ("castle-worker-2", "pve2"),
    ]
    (volume,) = record.storage.volumes
    assert (volume.title, volume.zones) == ("traefik/traefik-certificates", ("pve1", "pve2"))
    assert record.storage.target and record.storage.target.is_available
    assert KUBECONFIG not in storage_record.file(project, "homelab").read_text()
    asked = [arguments[:2] for arguments, _, _ in fake.calls]
    # Once before the update, and once after it.
    assert asked.count(EXPORT) == 2


def test_without_changes_the_state_is_exported_once(
    project: Path, fake: Cli, longhorn: LonghornObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def visit(*_: Any, **given: Any) -> int:
        """A doctor who asks for all that the state has for him."""
        assert given["read_storage"]() and given["ends"]() == {}
        return 0

    monkeypatch.setattr(engine, "visit", visit)
    monkeypatch.setattr("commands.up.has_changes", lambda _: False)
    assert engine.main(["up", "--", "--yes"]) == 0
    asked = [arguments[:2] for arguments, _, _ in fake.calls]
    assert asked == [["stack", "select"], EXPORT, ["preview", "--stack"]]


def test_warnings_are_printed_with_their_fix_and_notes_are_not(
    project: Path, longhorn: LonghornObjects, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system"
    target = longhorn.get(f"{folder}/backuptargets/default")
    assert target
    target["status"] = {
        "available": False,
        "conditions": [{"type": "Unavailable", "status": "True", "message": "access denied"}],
    }
    longhorn.add("backupvolumes", "old", spec={"volumeName": "pvc-old"}, status={})
    line, fix = up(capfd).splitlines()
    assert line == (
        "Storage: backup target nfs://192.168.1.5:/backups is not available: access denied"
    )
    assert fix.startswith("  -> check that the server is up")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ApiError("the Kubernetes API answers 503"), "the Kubernetes API answers 503"),
        (KeyError("spec"), "KeyError: 'spec'"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_the_up_has_succeeded(
    project: Path,
    longhorn: LonghornObjects,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    def fail(path: str) -> Any:
        raise error

    monkeypatch.setattr(longhorn, "items", fail)
    assert up(capfd) == f"The storage was not checked: {said}. `make doctor` checks it again.\n"
    assert storage_record.load(project, "homelab") is None


def test_a_state_that_stays_closed_is_one_line_without_the_words_of_the_cli(
    project: Path, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    session = Session(fake.folder / "pulumi", "homelab", project)
    fake.answers("stack export", "https://user:password@backend", code=1)
    cluster_storage.after_up(session, project)
    out = capfd.readouterr().out
    assert "`pulumi stack export --stack homelab --show-secrets` shows the reason" in out
    assert "password@" not in out


def test_without_a_cluster_no_kubeconfig_is_opened(
    project: Path, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.answers("stack export", {"deployment": {}})
    assert up(capfd) == ""
    assert not storage_record.file(project, "homelab").exists()


def test_a_cluster_without_longhorn_has_no_storage(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    empty = LonghornObjects()
    empty.lists.clear()
    monkeypatch.setattr(ClusterApi, "of", lambda _: empty)
    assert up(capfd) == ""
    assert storage_record.load(project, "homelab") is None


def test_an_up_that_failed_is_not_looked_at(
    project: Path, fake: Cli, longhorn: LonghornObjects
) -> None:
    fake.does("sys.exit(7 if arguments[0] == 'up' else 0)")
    assert engine.main(["up", "--", "--yes"]) == 7
    assert storage_record.load(project, "homelab") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"moment": "soon", "storage": {}}'])
def test_a_record_that_cannot_be_read_is_none(text: str, tmp_path: Path) -> None:
    record = storage_record.file(tmp_path, "homelab")
    record.parent.mkdir()
    record.write_text(text)
    assert storage_record.load(tmp_path, "homelab") is None


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    storage = read_storage(healthy_cluster())
    assert storage
    moment = storage.backups[0].last_backup
    assert moment
    found = storage_record.StorageRecord(moment=moment, storage=storage)
    storage_record.keep(tmp_path, "homelab", found)
    assert storage_record.load(tmp_path, "homelab") == found
    kept = json.loads(storage_record.file(tmp_path, "homelab").read_text())
    assert kept["moment"] == "2026-11-27T03:00:00Z"
