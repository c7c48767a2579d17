"""What killed runs leave on a machine, and how it goes."""

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

from commands.stale_processes import Leftovers, look

SLEEPS = f"#!{sys.executable}\nimport time\nprint('there', flush=True)\ntime.sleep(600)\n"
STARTS = (
    f"#!{sys.executable}\nimport pathlib, subprocess\n"
    "subprocess.run([pathlib.Path(__file__).with_name('pulumi-resource-test')])\n"
)
ENGINES = ("pulumi", ".pulumi-wrapped", "pulumi-language-test")
"""The CLI, the CLI on NixOS, and what only looks like it."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose state lies beside it."""
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state?metadata=skip'}")
    engines = ((name, STARTS) for name in ENGINES)
    for name, text in (("pulumi-resource-test", SLEEPS), *engines):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


@contextmanager
def started(project: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the project's folder, ended afterwards with its children."""
    process = subprocess.Popen(
        [str(project / name)], cwd=project, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
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


def test_where_nothing_was_killed_nothing_is_found(project: Path) -> None:
    assert not look(project, "homelab")


def test_a_provider_without_an_engine_is_ended(
    project: Path, provider: subprocess.Popen[str]
) -> None:
    found = look(project, "homelab")
    [sentence] = found.sentences()
    assert sentence == (
        f"the provider pulumi-resource-test (process {provider.pid}) lost its engine: end it"
    )
    found.clear()
    assert not psutil.pid_exists(provider.pid)
    assert not look(project, "homelab")


def test_a_provider_of_another_project_is_left_alone(
    project: Path, provider: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "Pulumi.yaml").write_text((project / "Pulumi.yaml").read_text())
    assert not look(other, "homelab")


@pytest.mark.parametrize("name", ENGINES[:2])
def test_a_provider_of_a_living_engine_is_left_alone(project: Path, name: str) -> None:
    with started(project, name) as engine:
        assert not look(project, "homelab")
        path = lock(project, pid=engine.pid)
        running = look(project, "homelab").running
        assert running is not None and running.path == path


def test_a_language_host_is_no_engine(project: Path) -> None:
    with started(project, ENGINES[2]) as host:
        lock(project, pid=host.pid)
        found = look(project, "homelab")
        assert found.running is None
        assert {process.pid for process in found.providers} > {host.pid}


def test_a_lock_of_a_dead_process_goes(project: Path) -> None:
    path = lock(project)
    found = look(project, "homelab")
    assert found.running is None
    assert list(found.sentences()) == [
        f"a lock of process {2**22 + 1} of me, since 2026-11-21T03:12:08: remove"
    ]
    found.clear()
    assert not path.exists()


def test_a_process_that_is_no_engine_holds_no_lock(project: Path) -> None:
    """The number of the dead engine's process may be another's by now."""
    lock(project, pid=os.getpid())
    assert look(project, "homelab").running is None


def test_of_a_lock_from_another_machine_only_a_person_can_know(project: Path) -> None:
    lock(project, hostname="laptop")
    [sentence] = look(project, "homelab").sentences()
    assert "of me on laptop, where it may still be running, since" in sentence


def test_the_lock_of_another_stack_is_its_own_matter(project: Path) -> None:
    lock(project, stack="ha")
    assert not look(project, "homelab")


def test_a_half_written_file_beside_the_state_goes_and_a_whole_one_stays(project: Path) -> None:
    folder = project / ".state/.pulumi/stacks/ephemeral-castle"
    folder.mkdir(parents=True)
    broken, whole = folder / "homelab.json.attrs", folder / "homelab.json.bak.attrs"
    broken.touch()
    whole.write_text("{}")
    found = look(project, "homelab")
    assert list(found.sentences()) == [
        "homelab.json.attrs is half-written, so the state cannot be read: remove it"
    ]
    found.clear()
    assert not broken.exists() and whole.exists()


def test_in_a_backend_that_is_no_folder_nothing_is_looked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(project)
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://castle")
    assert look(project, "homelab") == Leftovers()
