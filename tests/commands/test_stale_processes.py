"""Provider processes, locks and half-written files of killed runs, and their removal."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from commands.stale_processes import StaleRuns, find_stale_runs

SLEEPS = f"#!{sys.executable}\nimport time\nprint('started', flush=True)\ntime.sleep(600)\n"
STARTS = (
    f"#!{sys.executable}\nimport pathlib, subprocess\n"
    "subprocess.run([pathlib.Path(__file__).with_name('pulumi-resource-test')])\n"
)
ENGINES = ("pulumi", ".pulumi-wrapped", "pulumi-language-test")
"""Process names: the CLI, the CLI on NixOS, and a language host, which is not an engine."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a local state folder and executables that act as engine and provider."""
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state?metadata=skip'}")
    engines = ((name, STARTS) for name in ENGINES)
    for name, text in (("pulumi-resource-test", SLEEPS), *engines):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


@contextmanager
def started(project: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process in the project folder; end it and its children afterwards."""
    process = subprocess.Popen(
        [str(project / name)], cwd=project, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        yield process
        process.stdout.close()
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                child.kill()
        process.kill()
        process.wait()


@pytest.fixture
def provider(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A provider without an engine."""
    with started(project, "pulumi-resource-test") as process:
        yield process


def lock(project: Path, stack: str = "homelab", **changed: object) -> Path:
    """A lock file as the CLI writes it."""
    file = project / f".state/.pulumi/locks/organization/ephemeral-castle/{stack}/uuid.json"
    file.parent.mkdir(parents=True)
    content = {
        "pid": 2**22 + 1,
        "username": "me",
        "hostname": socket.gethostname(),
        "timestamp": "2026-11-21T03:12:08.123456789+01:00",
    }
    file.write_text(json.dumps(content | changed))
    return file


def test_nothing_is_found_without_a_killed_run(project: Path) -> None:
    assert not find_stale_runs(project, "homelab")


def test_a_provider_without_an_engine_is_ended(
    project: Path, provider: subprocess.Popen[str]
) -> None:
    found = find_stale_runs(project, "homelab")
    [sentence] = found.sentences()
    assert sentence == (
        f"provider pulumi-resource-test (process {provider.pid}) has no engine: end it"
    )
    found.clear()
    assert not psutil.pid_exists(provider.pid)
    assert not find_stale_runs(project, "homelab")


def test_a_provider_of_another_project_is_not_ended(
    project: Path, provider: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "Pulumi.yaml").write_text((project / "Pulumi.yaml").read_text())
    assert not find_stale_runs(other, "homelab")


@pytest.mark.parametrize("name", ENGINES[:2])
def test_a_provider_of_an_active_engine_is_not_ended(project: Path, name: str) -> None:
    with started(project, name) as engine:
        assert not find_stale_runs(project, "homelab")
        path = lock(project, pid=engine.pid)
        active = find_stale_runs(project, "homelab").active_lock
        assert active is not None and active.path == path


def test_a_language_host_is_not_an_engine(project: Path) -> None:
    with started(project, ENGINES[2]) as host:
        lock(project, pid=host.pid)
        found = find_stale_runs(project, "homelab")
        assert found.active_lock is None
        assert {process.pid for process in found.providers} > {host.pid}


def test_the_lock_of_an_ended_process_is_removed(project: Path) -> None:
    path = lock(project)
    found = find_stale_runs(project, "homelab")
    assert found.active_lock is None
    assert list(found.sentences()) == [
        f"lock of process {2**22 + 1} of me, since 2026-11-21T03:12:08: remove it"
    ]
    found.clear()
    assert not path.exists()


def test_a_lock_is_not_active_if_its_process_id_belongs_to_another_program(project: Path) -> None:
    """The operating system may give the id of the ended engine to a new process."""
    lock(project, pid=os.getpid())
    assert find_stale_runs(project, "homelab").active_lock is None


def test_the_lock_of_another_computer_may_be_active(project: Path) -> None:
    lock(project, hostname="laptop")
    [sentence] = find_stale_runs(project, "homelab").sentences()
    assert "of me on laptop, where it may still be running, since" in sentence


def test_the_lock_of_another_stack_is_ignored(project: Path) -> None:
    lock(project, stack="ha")
    assert not find_stale_runs(project, "homelab")


def test_a_half_written_attrs_file_is_removed_and_a_complete_one_is_not(project: Path) -> None:
    folder = project / ".state/.pulumi/stacks/ephemeral-castle"
    folder.mkdir(parents=True)
    broken, whole = folder / "homelab.json.attrs", folder / "homelab.json.bak.attrs"
    broken.touch()
    whole.write_text("{}")
    found = find_stale_runs(project, "homelab")
    assert list(found.sentences()) == [
        "homelab.json.attrs is half-written, so the state cannot be read: remove it"
    ]
    found.clear()
    assert not broken.exists() and whole.exists()


def test_locks_are_not_searched_in_a_remote_backend(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(project)
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://castle")
    assert find_stale_runs(project, "homelab") == StaleRuns()


def write_states(project: Path, **contents: str) -> Path:
    """Write the state of the stack and copies of it; returns the path of the state."""
    folder = project / ".state/.pulumi/stacks/ephemeral-castle"
    backups = project / ".state/.pulumi/backups/ephemeral-castle/homelab"
    for path in (folder, backups):
        path.mkdir(parents=True)
    files = {
        "state": folder / "homelab.json",
        "bak": folder / "homelab.json.bak",
        "old": backups / "homelab.1.json",
        "new": backups / "homelab.2.json",
    }
    for age, name in enumerate(("old", "new")):
        if name in contents:
            files[name].write_text(contents[name])
            os.utime(files[name], (age, age))
    for name in ("state", "bak"):
        if name in contents:
            files[name].write_text(contents[name])
    return files["state"]


@pytest.mark.parametrize(
    ("contents", "restored"),
    [
        ({"state": "", "bak": '{"a": 1}', "new": '{"a": 2}'}, '{"a": 1}'),
        ({"state": '{"a"', "bak": "", "old": '{"a": 2}', "new": '{"a": 3}'}, '{"a": 3}'),
        ({"state": "", "bak": '{"a"', "old": '{"a": 2}', "new": ""}, '{"a": 2}'),
    ],
)
def test_a_half_written_state_is_replaced_by_its_newest_complete_copy(
    project: Path, contents: dict[str, str], restored: str
) -> None:
    state = write_states(project, **contents)
    found = find_stale_runs(project, "homelab")
    [sentence] = found.sentences()
    assert "homelab.json is half-written, so the state cannot be read: use its copy" in sentence
    found.clear()
    assert state.read_text() == restored
    assert state.with_suffix(".json.broken").read_text() == contents["state"]
    assert not find_stale_runs(project, "homelab")


def test_a_half_written_state_without_a_copy_is_lost(project: Path) -> None:
    state = write_states(project, state='{"a"')
    found = find_stale_runs(project, "homelab")
    [sentence] = found.sentences()
    assert sentence.endswith("move it to homelab.json.broken. The state is lost then")
    found.clear()
    assert not state.exists()


def test_a_complete_state_is_left_alone(project: Path) -> None:
    write_states(project, state='{"a": 1}', bak='{"a": 2}')
    assert not find_stale_runs(project, "homelab")
