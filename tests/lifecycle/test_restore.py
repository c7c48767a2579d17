"""Restore of a cluster from a snapshot: what the program reads from the file, and refusals."""

from __future__ import annotations

import asyncio
import atexit
import base64
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from clients.kubernetes import helm_release
from clients.kubernetes.api import ClusterApi
from lifecycle import bootstrap, restore
from lifecycle.bootstrap import BootstrapProvider, RestoreRefusedError
from lifecycle.restore import plan
from rehearsal.run import _Hooks
from settings.models import Settings
from settings.problems import SettingsError
from settings.running import RunningStack
from tests.backup.archives import KEY, RECIPIENT, SNAPSHOT, archive
from tests.recorder import one, record, settings_with

RELEASE = "kubernetes:helm.sh/v3:Release"
FILE = "snapshot.db.age"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project folder with a snapshot."""
    monkeypatch.setattr(restore, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(restore, "STATE_FOLDER", tmp_path / ".state")
    (tmp_path / FILE).write_bytes(archive().sealed(RECIPIENT))
    return tmp_path


def restore_settings(kubernetes: str = "v1.36.3") -> Settings:
    """Settings with ``cluster.restore_from``."""
    cluster = {"restore_from": FILE, "kubernetes": kubernetes}
    return settings_with(cluster=cluster, sops={"age_key": str(KEY)})


def test_without_the_setting_there_is_nothing_to_restore(project: Path) -> None:
    assert plan(settings_with()) is None


def test_only_a_new_cluster_imports_the_machine_secrets(project: Path) -> None:
    new = plan(restore_settings())
    assert new is not None and new.secrets == archive().secrets
    (project / FILE).unlink()
    existing = plan(restore_settings().with_running(RunningStack(has_machine_secrets=True)))
    assert existing is not None and existing.secrets is None and existing.import_id() is None


def test_the_machine_secrets_are_read_once_from_a_pipe(project: Path) -> None:
    new = plan(restore_settings())
    assert new is not None
    pipe = new.import_id()
    assert pipe is not None and Path(pipe).is_fifo()
    assert Path(pipe).stat().st_mode & 0o777 == 0o600
    assert Path(pipe).read_text() == archive().secrets
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(5)
    assert not Path(pipe).exists()
    # Pulumi would replace the machine secrets if the import id changed.
    assert new.import_id() == pipe
    Path(pipe).read_text()


def test_a_pipe_that_nobody_read_is_removed_at_the_end_of_the_program(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(
        atexit, "register", lambda call, **more: at_exit.append(partial(call, **more))
    )
    new = plan(restore_settings())
    assert new is not None
    pipe = Path(str(new.import_id()))
    (remove,) = at_exit
    remove()
    assert not pipe.exists()
    remove()  # the reader may have removed it


def test_old_helm_records_are_deleted_before_a_release_is_created(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_ = plan(restore_settings())
    assert plan_ is not None
    forgotten: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ClusterApi, "of", lambda text: text)
    monkeypatch.setattr(helm_release, "forget", lambda *args: forgotten.append(args))

    def build() -> None:
        kubeconfig = pulumi.Output.from_input("a kubeconfig")
        transform = plan_.over_old_releases(kubeconfig)
        options = pulumi.ResourceOptions(transformations=[transform])
        kubernetes.helm.v3.Release(
            "release", name="traefik", namespace="edge", chart="traefik", opts=options
        )
        kubernetes.core.v1.Namespace("namespace", opts=options)

    monkeypatch.setattr(_Hooks, "register_resource_hook", lambda _, hook: hooks.append(hook))
    hooks: list[pulumi.ResourceHook] = []
    recording = record(build)
    assert one(recording, "release").hooks == ("before_create forget-the-old-release",)
    assert one(recording, "namespace").hooks == ()
    (hook,) = hooks
    inputs = {"name": "traefik", "namespace": "edge"}
    args = pulumi.ResourceHookArgs("", "", "release", RELEASE, new_inputs=inputs)
    delete = hook.callback(args)
    assert isinstance(delete, Coroutine)
    asyncio.run(delete)
    assert forgotten == [("a kubeconfig", helm_release.Release("traefik", "edge"))]


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
def test_an_unusable_file_is_a_settings_error(
    project: Path, content: bytes | None, version: str, reason: str | None
) -> None:
    (project / FILE).unlink()
    if content is not None:
        (project / FILE).write_bytes(content)
    settings = restore_settings(version)
    if reason is None:
        assert plan(settings)
        return
    with pytest.raises(SettingsError) as raised:
        plan(settings)
    (problem,) = raised.value.problems
    assert (problem.path, problem.value) == ("cluster.restore_from", FILE)
    assert reason in problem.reason


BOOTSTRAP = {"node": "192.168.1.253"}


def test_a_bootstrap_is_never_repeated() -> None:
    for news in (BOOTSTRAP, BOOTSTRAP | {"restore_from": FILE}):
        assert BootstrapProvider().diff("", BOOTSTRAP, news).changes is False


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """The snapshot of each bootstrap; ``None`` for an empty etcd."""
    used: list[bytes | None] = []
    monkeypatch.setattr(bootstrap, "bootstrap", lambda props, snapshot: used.append(snapshot))
    return used


def inputs(project: Path, authority: str) -> dict[str, Any]:
    return BOOTSTRAP | {
        "ca_certificate": authority,
        "restore_from": FILE,
        "archive": str(project / FILE),
        "age_key": str(KEY),
    }


def test_etcd_starts_with_the_snapshot(project: Path, snapshots: list[bytes | None]) -> None:
    result = BootstrapProvider().create(inputs(project, archive().authority))
    assert snapshots == [SNAPSHOT]
    assert result.outs == BOOTSTRAP | {"restored_from": FILE}


def test_nodes_with_other_machine_secrets_are_not_restored(
    project: Path, snapshots: list[bytes | None]
) -> None:
    other = base64.b64encode(b"another authority").decode()
    with pytest.raises(RestoreRefusedError, match="other machine secrets"):
        BootstrapProvider().create(inputs(project, other))
    (project / FILE).unlink()
    with pytest.raises(RestoreRefusedError, match="cannot be read.*Restore the file"):
        BootstrapProvider().create(inputs(project, archive().authority))
    assert snapshots == []
