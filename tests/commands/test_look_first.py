"""The doctor runs before ``up`` and stops it on a failure; the passphrase is asked once."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clients.pulumi_cli import passphrase, secrets
from clients.pulumi_cli.session import StackReader
from commands import __main__ as commands
from settings.load import TOKEN
from settings.problems import Problem, SettingsError
from settings.project import PROJECT_FOLDER
from tests.commands.conftest import Cli


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
    """Replace the doctor by one with a prepared result; returns the list of its calls."""

    def prepare(result: Any) -> list[Any]:
        calls: list[Any] = []

        def run_checks(*args: Any, **kwargs: Any) -> int:
            calls.append((args, kwargs))
            if isinstance(result, Exception):
                raise result
            return int(result(kwargs) if callable(result) else result)

        monkeypatch.setattr(commands, "run_checks", run_checks)
        return calls

    return prepare


Doctor = Callable[[Any], list[Any]]


def cli_commands(fake: Cli) -> list[str]:
    return [a[0] for a, _, _ in fake.calls if a[:2] != ["stack", "export"]]


def test_up_runs_the_doctor_first_in_brief_form(fake: Cli, doctor: Doctor) -> None:
    calls = doctor(0)
    assert commands.main(["up", "--stack", "ha"]) == 0
    ((args, kwargs),) = calls
    assert args == ("ha", PROJECT_FOLDER) and kwargs["brief"] is True
    assert cli_commands(fake) == ["stack", "preview", "up"]


def test_a_failed_check_stops_up_and_the_message_names_the_override(
    fake: Cli, doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor(1)
    assert commands.main(["up"]) == 1
    assert cli_commands(fake) == ["stack"]
    shown = capsys.readouterr().err
    assert "Nothing has been changed" in shown and "make up DOCTOR=no" in shown


def test_skip_doctor_skips_the_doctor(fake: Cli, doctor: Doctor) -> None:
    calls = doctor(1)
    assert commands.main(["up", "--skip-doctor"]) == 0
    assert calls == [] and cli_commands(fake) == ["stack", "preview", "up"]


def test_wrong_settings_return_exit_code_2_and_change_nothing(
    fake: Cli, doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor(SettingsError([Problem("cluster.vip", "1", "is wrong", "correct it")], "homelab"))
    assert commands.main(["up"]) == 2
    assert cli_commands(fake) == ["stack"]
    assert "cluster.vip = 1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["preview", "refresh", "cancel"])
def test_other_commands_do_not_run_the_doctor(fake: Cli, doctor: Doctor, command: str) -> None:
    calls = doctor(1)
    assert commands.main([command]) == 0
    assert calls == []


# The passphrase -----------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A user at a terminal who enters the passphrase; returns the list of prompts."""
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "horse"

    monkeypatch.setattr(getpass, "getpass", answer)
    for name in (secrets.VARIABLE, secrets.FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return asked


@pytest.fixture
def encrypted(tmp_path: Path) -> Path:
    file = tmp_path / "Pulumi.homelab.yaml"
    file.write_text("config: {}\nencryptionsalt: v1:abc\n")
    return file


def test_the_passphrase_is_asked_once_for_the_doctor_and_the_cli(
    fake: Cli,
    doctor: Doctor,
    terminal: list[str],
    encrypted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "PROJECT_FOLDER", encrypted.parent)
    (encrypted.parent / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
    fake.does(
        "word = os.environ.get('PULUMI_CONFIG_PASSPHRASE')\n"
        "if arguments[0] == 'config' and word == 'horse':\n"
        f"    print(json.dumps({{{TOKEN!r}: {{'value': 'a token', 'secret': True}}}}))\n"
        "sys.exit(0 if arguments[0] == 'stack' or word == 'horse' else 9)"
    )
    doctor(lambda kwargs: 0 if kwargs["open_token"]() == "a token" else 1)
    assert commands.main(["up"]) == 0
    assert cli_commands(fake) == ["stack", "config", "preview", "up"]
    assert len(terminal) == 1 and "Pulumi.homelab.yaml" in terminal[0]


def test_the_passphrase_is_not_asked_if_it_is_set_or_not_needed(
    terminal: list[str], encrypted: Path, tmp_path: Path
) -> None:
    for name in (secrets.VARIABLE, secrets.FILE_VARIABLE):
        reader = StackReader(None, "homelab", encrypted.parent)
        reader.environment[name] = "x"
        passphrase.ask_once(reader)
    (tmp_path / "Pulumi.plain.yaml").write_text("config: {}\n")
    passphrase.ask_once(StackReader(None, "plain", tmp_path))
    assert terminal == []


def test_the_passphrase_is_not_asked_without_a_terminal(
    terminal: list[str], encrypted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    reader = StackReader(None, "homelab", encrypted.parent)
    passphrase.ask_once(reader)
    assert terminal == [] and secrets.VARIABLE not in reader.environment
