"""The wrapper around the CLI: which CLI, with what, and what is left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi.automation import PulumiCommand

from engine import __main__ as engine
from engine import cli
from engine.private_folder import PREFIX, private_folder

FAKE = """#!{python}
import json, os, pathlib, signal, sys, time
arguments = sys.argv[1:]
folder = pathlib.Path(os.environ["TMPDIR"])
(folder / "kubeconfig123").write_text("an admin key")
with open({log!r}, "a") as log:
    print(json.dumps([arguments, str(folder), oct(folder.stat().st_mode)]), file=log)
{then}
"""


class Cli:
    """A CLI of ours on PATH, which writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"

    def does(self, then: str) -> None:
        file = self.folder / "pulumi"
        file.write_text(FAKE.format(python=sys.executable, log=str(self.log), then=then))
        file.chmod(0o755)

    @property
    def calls(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    fake = Cli(binaries)
    fake.does("sys.exit(0)")
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(engine, "visit", lambda *args, **kwargs: 0)  # a doctor who is content
    return fake


def left_behind(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "runtime").iterdir())


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("preview", ["preview"]),
        ("up", ["up"]),
        ("refresh", ["refresh"]),
        ("token", ["config", "set", "--secret", "proxmoxve:apiToken"]),
        ("cancel", ["cancel"]),
    ],
)
def test_each_word_is_the_clis_own(fake: Cli, command: str, expected: list[str]) -> None:
    assert engine.main([command, "--stack", "homelab", "--", "--yes"]) == 0
    assert [arguments for arguments, _, _ in fake.calls] == [
        ["stack", "select", "--create", "homelab"],
        [*expected, "--stack", "homelab", "--yes"],
    ]


LOOK = ["refresh", "--target", "**VmLegacy**", "--stack", "homelab"]
QUIET = [*LOOK, "--preview-only", "--expect-no-changes", "--non-interactive"]
DESTROY = ["destroy", "--stack", "homelab", "--yes"]


def test_a_castle_with_all_its_machines_is_taken_down(fake: Cli) -> None:
    assert engine.main(["down", "--", "--yes"]) == 0
    assert [arguments for arguments, _, _ in fake.calls[1:]] == [QUIET, DESTROY]


def test_machines_that_are_gone_are_shown_and_forgotten_first(fake: Cli) -> None:
    fake.does("sys.exit(1 if '--expect-no-changes' in arguments else 0)")
    assert engine.main(["down", "--", "--yes"]) == 0
    assert [arguments for arguments, _, _ in fake.calls[1:]] == [QUIET, [*LOOK, "--yes"], DESTROY]


@pytest.mark.parametrize("name", ["kubeconfig", "talosconfig"])
def test_a_key_to_the_cluster_is_written_for_its_owner_alone(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(engine, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    (tmp_path / name).write_text("of the castle before")
    fake.does("print('an admin key')")
    assert engine.main([name]) == 0
    written = tmp_path / name
    assert written.read_text() == "an admin key\n"
    assert oct(written.stat().st_mode)[-3:] == "600"
    assert fake.calls[-1][0] == ["stack", "output", name, "--show-secrets", "--stack", "homelab"]


def test_where_there_is_no_key_no_file_is_touched(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    fake.does("sys.exit(0 if arguments[1] == 'select' else 255)")
    assert engine.main(["kubeconfig"]) == 255
    assert not (tmp_path / "kubeconfig").exists()


def test_the_folder_is_private_and_gone_afterwards(fake: Cli, tmp_path: Path) -> None:
    engine.main(["up"])
    (_, folder, mode) = fake.calls[-1]
    assert Path(folder).name.startswith(PREFIX)
    assert mode.endswith("700")
    assert left_behind(tmp_path) == []


def test_a_failure_is_handed_on_and_leaves_nothing(fake: Cli, tmp_path: Path) -> None:
    fake.does("sys.exit(0 if arguments[0] == 'stack' else 255)")
    assert engine.main(["up"]) == 255
    assert left_behind(tmp_path) == []


def test_a_stack_that_cannot_be_selected_ends_it(fake: Cli) -> None:
    fake.does("sys.exit(7)")
    assert engine.main(["up"]) == 7
    assert len(fake.calls) == 1


def test_told_to_end_it_stops_the_cli_first_and_leaves_nothing(fake: Cli, tmp_path: Path) -> None:
    fake.does(
        "if arguments[0] == 'stack': sys.exit(0)\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(3))\n"
        "print('working', flush=True)\n"
        "signal.pause()"
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "engine", "up", "--skip-doctor"],
        cwd=engine.PROJECT_FOLDER,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "working\n"
    child.send_signal(signal.SIGTERM)
    child.stdout.close()
    assert child.wait(timeout=60) == 3
    assert left_behind(tmp_path) == []


def test_what_a_killed_run_left_is_wiped_by_the_next(tmp_path: Path) -> None:
    killed = tmp_path / f"{PREFIX}killed"
    killed.mkdir()
    (killed / "lock").touch()
    (killed / "kubeconfig1").write_text("an admin key")
    with private_folder(tmp_path) as mine:
        assert list(tmp_path.iterdir()) == [mine]


def test_a_run_beside_ours_is_left_alone(tmp_path: Path) -> None:
    with private_folder(tmp_path) as first, private_folder(tmp_path) as second:
        assert first.exists() and second.exists() and first != second


def test_an_unknown_stack_is_not_made(fake: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine.main(["up", "--stack", "homelap"]) == 2
    assert "did you mean homelab?" in capsys.readouterr().err
    assert not fake.log.exists()


def test_without_a_cli_the_pinned_one_is_installed_beside_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roots: list[str] = []
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(PulumiCommand, "install", lambda root: roots.append(root))
    assert cli.find(tmp_path) == tmp_path / "bin" / "pulumi"
    assert roots == [str(tmp_path)]
    assert "installing v3.259.0" in capsys.readouterr().out


def test_one_that_was_installed_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    installed = tmp_path / "bin" / "pulumi"
    installed.parent.mkdir()
    installed.touch()
    assert cli.find(tmp_path) == installed


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route to host"),
        subprocess.CalledProcessError(1, "sh", output=b"no route to host"),
    ],
)
def test_where_it_cannot_be_installed_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def install(root: str) -> None:
        raise error

    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(PulumiCommand, "install", install)
    with pytest.raises(cli.NoCliError) as found:
        cli.find(tmp_path)
    assert "no route to host" in str(found.value)
    assert "https://www.pulumi.com/docs/install/" in str(found.value)
    assert "\n" not in str(found.value)


def test_no_file_lies_beside_the_state_that_a_kill_could_leave_half_written() -> None:
    """Found in a real run: "failed to load checkpoint: EOF" was an empty attributes file."""
    project = yaml.safe_load((engine.PROJECT_FOLDER / "Pulumi.yaml").read_text(encoding="utf-8"))
    assert project["backend"]["url"] == "file://./.state?metadata=skip"
