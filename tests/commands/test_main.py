"""``python -m commands``: which Pulumi CLI it runs, with which arguments, and its cleanup."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pulumi.automation import PulumiCommand

from clients.pulumi_cli import cli
from clients.pulumi_cli.private_folder import PREFIX, private_folder
from commands import __main__ as commands
from commands import last_up
from settings.project import PROJECT_FOLDER
from tests.commands.conftest import Cli


def remaining_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "runtime").iterdir())


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("preview", ["preview"]),
        ("token", ["config", "set", "--secret", "proxmoxve:apiToken"]),
        ("cancel", ["cancel"]),
    ],
)
def test_a_plain_command_runs_the_cli_with_its_arguments(
    fake: Cli, command: str, expected: list[str]
) -> None:
    assert commands.main([command, "--stack", "homelab", "--", "--yes"]) == 0
    assert [arguments for arguments, _, _ in fake.calls] == [
        ["stack", "select", "--create", "homelab"],
        [*expected, "--stack", "homelab", "--yes"],
    ]


def test_up_writes_the_event_log_to_the_private_folder_and_records_the_times(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    fake.answers("stack export", {"version": 3, "deployment": {}})
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    metadata = {"op": "create", "urn": "urn:pulumi:a::b::c::d", "new": {"custom": True}}
    event = {"timestamp": 1, "resourcePreEvent": {"metadata": metadata}}
    fake.does(
        "if arguments[0] in ('stack', 'preview'): sys.exit(0)\n"
        "assert os.environ['PULUMI_DEBUG_COMMANDS'] == 'true'\n"
        f"pathlib.Path(arguments[-1]).write_text({json.dumps(event)!r})\n"
        "sys.exit(3)"
    )
    assert commands.main(["up", "--stack", "homelab", "--", "--yes"]) == 3
    arguments, folder, mode = fake.calls[-1]
    log = str(Path(folder) / "events.jsonl")
    assert arguments == [
        "up",
        "--stack",
        "homelab",
        "--yes",
        "--skip-preview",
        "--event-log",
        log,
    ]
    assert mode.endswith("700") and not Path(log).exists()
    record = last_up.load(tmp_path, "homelab")
    assert record is not None and record.operations[0].urn == metadata["urn"]


@pytest.mark.parametrize("name", ["kubeconfig", "talosconfig"])
def test_kubeconfig_and_talosconfig_are_readable_by_their_owner_only(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    (tmp_path / name).write_text("of an earlier cluster")
    fake.does("print('an admin key')")
    assert commands.main([name]) == 0
    written = tmp_path / name
    assert written.read_text() == "an admin key\n"
    assert oct(written.stat().st_mode)[-3:] == "600"
    assert fake.calls[-1][0][:4] == ["stack", "output", name, "--show-secrets"]


def test_no_file_is_written_if_the_stack_has_no_such_output(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    fake.does("sys.exit(0 if arguments[1] == 'select' else 255)")
    assert commands.main(["kubeconfig"]) == 1
    assert not (tmp_path / "kubeconfig").exists()


def test_the_temporary_folder_is_private_and_deleted_at_the_end(fake: Cli, tmp_path: Path) -> None:
    commands.main(["preview"])
    (_, folder, mode) = fake.calls[-1]
    assert Path(folder).name.startswith(PREFIX)
    assert mode.endswith("700")
    assert remaining_files(tmp_path) == []


@pytest.mark.parametrize("missing", [True, False])
def test_a_missing_or_unwritable_runtime_folder_is_not_needed(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    """After ``su``, or in a cron job, XDG_RUNTIME_DIR may not exist or not be writable."""
    offered, other = tmp_path / "runtime", tmp_path / "temporary"
    other.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(other))
    if missing:
        offered.rmdir()
    else:
        monkeypatch.setattr("os.access", lambda path, _: Path(path) != offered)
    assert commands.main(["preview"]) == 0
    assert Path(fake.calls[-1][1]).parent == other


def test_the_exit_code_of_a_failed_cli_is_returned_and_no_file_remains(
    fake: Cli, tmp_path: Path
) -> None:
    fake.does("sys.exit(0 if arguments[0] == 'stack' else 255)")
    assert commands.main(["preview"]) == 255
    assert remaining_files(tmp_path) == []


def test_nothing_else_runs_if_the_stack_cannot_be_selected(fake: Cli) -> None:
    fake.does("sys.exit(7)")
    assert commands.main(["preview"]) == 7
    assert len(fake.calls) == 1


def test_sigterm_stops_the_cli_first_and_no_file_remains(fake: Cli, tmp_path: Path) -> None:
    fake.does(
        "if arguments[0] == 'stack': sys.exit(0)\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(3))\n"
        "print('working', flush=True)\n"
        "signal.pause()"
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "commands", "preview"],
        cwd=PROJECT_FOLDER,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "working\n"
    child.send_signal(signal.SIGTERM)
    child.stdout.close()
    assert child.wait(timeout=60) == 3
    assert remaining_files(tmp_path) == []


def test_the_next_run_deletes_the_folder_of_a_killed_run(tmp_path: Path) -> None:
    killed = tmp_path / f"{PREFIX}killed"
    killed.mkdir()
    (killed / "lock").touch()
    (killed / "kubeconfig1").write_text("an admin key")
    with private_folder(tmp_path) as mine:
        assert list(tmp_path.iterdir()) == [mine]


def test_two_runs_at_the_same_time_have_different_folders(tmp_path: Path) -> None:
    with private_folder(tmp_path) as first, private_folder(tmp_path) as second:
        assert first.exists() and second.exists() and first != second


def test_a_mistyped_stack_is_not_created(fake: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["up", "--stack", "homelap"]) == 2
    assert "did you mean homelab?" in capsys.readouterr().err
    assert not fake.log.exists()


def test_the_pinned_cli_is_installed_into_the_project_if_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roots: list[str] = []
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(PulumiCommand, "install", lambda root: roots.append(root))
    assert cli.find(tmp_path) == tmp_path / "bin" / "pulumi"
    assert roots == [str(tmp_path)]
    assert "installing v3.259.0" in capsys.readouterr().out


def test_an_installed_cli_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_failed_installation_of_the_cli_is_reported_in_one_line_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def install(root: str) -> None:
        raise error

    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(PulumiCommand, "install", install)
    with pytest.raises(cli.NoCliError) as raised:
        cli.find(tmp_path)
    assert "no route to host" in str(raised.value)
    assert "https://www.pulumi.com/docs/install/" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_backend_writes_no_attrs_files() -> None:
    """An empty .attrs file of a killed run causes "failed to load checkpoint: EOF"."""
    project = yaml.safe_load((PROJECT_FOLDER / "Pulumi.yaml").read_text(encoding="utf-8"))
    assert project["backend"]["url"] == "file://./.state?metadata=skip"
