"""The storage after an ``up``: what is printed and kept; no error of it fails the ``up``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clients.kubernetes.longhorn import read_storage
from components.cluster_api import ApiError, ClusterApi
from engine import __main__ as engine
from engine import castle, storage_record
from rehearsal.run import PROGRAM, rehearse
from tests.engine.conftest import Cli
from tests.longhorn_objects import LonghornObjects, healthy_cluster
from tests.rehearsal.conftest import write_stack

KUBECONFIG = "kind: Config, with the admin's key"
OUTPUT = "stack output kubeconfig --show-secrets --non-interactive --stack homelab"


@pytest.fixture
def project(fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stack of two workers, whose cluster exists in the state."""
    write_stack(tmp_path, "homelab", {"nodes.workers.count": 2, "cluster.name": "castle"})
    settings = rehearse("homelab", tmp_path).settings
    monkeypatch.setattr(engine, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(castle, "settings", lambda session: settings)
    stack = {"type": "pulumi:pulumi:Stack", "outputs": {"kubeconfig": {"ciphertext": "v1:abc"}}}
    fake.answers("stack export", {"deployment": {"resources": [stack]}})
    fake.answers("stack output kubeconfig", KUBECONFIG)
    monkeypatch.chdir(PROGRAM)
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
    asked = [" ".join(arguments) for arguments, _, _ in fake.calls]
    assert asked.count(OUTPUT) == 1


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
    assert fix.startswith("  -> see that the server is up")


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


def test_a_kubeconfig_that_stays_closed_asks_for_the_passphrase(
    project: Path, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.answers("stack output kubeconfig", "https://user:password@backend", code=1)
    out = up(capfd)
    assert "cannot be opened: is PULUMI_CONFIG_PASSPHRASE set" in out
    assert "password@" not in out


def test_without_a_cluster_no_kubeconfig_is_opened(
    project: Path, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.answers("stack export", {"deployment": {}})
    assert up(capfd) == ""
    asked = [arguments for arguments, _, _ in fake.calls]
    assert [it for it in asked if it[:2] == ["stack", "output"]] == []
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
