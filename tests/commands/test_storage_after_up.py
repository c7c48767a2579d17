"""The check of Longhorn's storage after ``up``: its output and record; it cannot fail ``up``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clients.kubernetes.api import ClusterApi, KubernetesError
from clients.kubernetes.longhorn import read_storage
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import Session
from commands import __main__ as commands
from doctor import storage_record
from rehearsal.run import rehearse
from settings.project import PROJECT_FOLDER
from tests.commands.conftest import Cli, opened_state
from tests.longhorn_objects import LonghornObjects, healthy_cluster
from tests.rehearsals import write_stack

KUBECONFIG = "kind: Config, with the admin's key"
EXPORT = ["stack", "export"]


@pytest.fixture
def project(fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a stack of two workers; the state contains the cluster."""
    write_stack(tmp_path, "homelab", {"nodes.workers.count": 2, "cluster.name": "castle"})
    settings = rehearse("homelab", tmp_path).settings
    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
    monkeypatch.setattr(stack_settings, "settings", lambda session: settings)
    fake.answers("stack export", opened_state(KUBECONFIG))
    monkeypatch.chdir(PROJECT_FOLDER)
    return tmp_path


@pytest.fixture
def longhorn(monkeypatch: pytest.MonkeyPatch) -> LonghornObjects:
    """The Longhorn objects of the stack's cluster, which only its kubeconfig opens."""
    objects = healthy_cluster()

    def of(kubeconfig: str) -> LonghornObjects:
        assert kubeconfig.strip() == KUBECONFIG
        return objects

    monkeypatch.setattr(ClusterApi, "of", of)
    return objects


def up(capfd: pytest.CaptureFixture[str]) -> str:
    assert commands.main(["up", "--", "--yes"]) == 0
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
    calls = [arguments[:2] for arguments, _, _ in fake.calls]
    # Once before the update and once after it.
    assert calls.count(EXPORT) == 2


def test_the_state_is_exported_once_if_nothing_changes(
    project: Path, fake: Cli, longhorn: LonghornObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_checks(*_: Any, **options: Any) -> int:
        """Run the doctor's two reads that use the exported state."""
        assert options["read_storage"]() and options["read_certificate_ends"]() == {}
        return 0

    monkeypatch.setattr(commands, "run_checks", run_checks)
    monkeypatch.setattr("commands.up.has_changes", lambda _: False)
    assert commands.main(["up", "--", "--yes"]) == 0
    calls = [arguments[:2] for arguments, _, _ in fake.calls]
    assert calls == [["stack", "select"], EXPORT, ["preview", "--stack"]]


def test_warnings_are_printed_with_their_fix_but_notes_are_not(
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
    ("error", "message"),
    [
        (
            KubernetesError("GET /", "https://vip:6443", "unavailable", 503),
            "the Kubernetes API answers 503 unavailable",
        ),
        (KeyError("spec"), "KeyError: 'spec'"),
    ],
)
def test_unreadable_storage_is_reported_in_one_line_and_up_succeeds(
    project: Path,
    longhorn: LonghornObjects,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    def fail(path: str) -> Any:
        raise error

    monkeypatch.setattr(longhorn, "items", fail)
    assert up(capfd) == f"The storage was not checked: {message}. `make doctor` checks it again.\n"
    assert storage_record.load(project, "homelab") is None


def test_an_unreadable_state_is_reported_without_the_output_of_the_cli(
    project: Path, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    session = Session(fake.folder / "pulumi", "homelab", project)
    fake.answers("stack export", "https://user:password@backend", code=1)
    storage_record.after_up(session, project)
    out = capfd.readouterr().out
    assert "`pulumi stack export --stack homelab` shows the reason" in out
    assert "password@" not in out


def test_no_storage_is_read_without_a_cluster(
    project: Path, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.answers("stack export", {"deployment": {}})
    assert up(capfd) == ""
    assert not storage_record.file(project, "homelab").exists()


def test_no_storage_is_recorded_without_longhorn(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    empty = LonghornObjects()
    empty.lists.clear()
    monkeypatch.setattr(ClusterApi, "of", lambda _: empty)
    assert up(capfd) == ""
    assert storage_record.load(project, "homelab") is None


def test_the_storage_is_not_checked_after_a_failed_up(
    project: Path, fake: Cli, longhorn: LonghornObjects
) -> None:
    fake.does("sys.exit(7 if arguments[0] == 'up' else 0)")
    assert commands.main(["up", "--", "--yes"]) == 7
    assert storage_record.load(project, "homelab") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"moment": "soon", "storage": {}}'])
def test_an_invalid_record_reads_as_none(text: str, tmp_path: Path) -> None:
    record = storage_record.file(tmp_path, "homelab")
    record.parent.mkdir()
    record.write_text(text)
    assert storage_record.load(tmp_path, "homelab") is None


def test_a_written_record_can_be_read(tmp_path: Path) -> None:
    storage = read_storage(healthy_cluster())
    assert storage
    moment = storage.backups[0].last_backup
    assert moment
    record = storage_record.StorageRecord(moment=moment, storage=storage)
    storage_record.save(tmp_path, "homelab", record)
    assert storage_record.load(tmp_path, "homelab") == record
    content = json.loads(storage_record.file(tmp_path, "homelab").read_text())
    assert content["moment"] == "2026-11-27T03:00:00Z"
