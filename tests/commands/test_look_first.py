"""The doctor's look before ``up``: what it stops, and how to go on in spite of it."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clients.pulumi_cli import passphrase
from commands import __main__ as engine
from settings.load import TOKEN
from settings.problems import Problem, SettingsError
from settings.project import PROJECT_FOLDER
from tests.commands.conftest import Cli


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
    """A doctor who says what a test wants; returns how he was called."""

    def says(result: Any) -> list[Any]:
        calls: list[Any] = []

        def run_checks(*args: Any, **kwargs: Any) -> int:
            calls.append((args, kwargs))
            if isinstance(result, Exception):
                raise result
            return int(result(kwargs) if callable(result) else result)

        monkeypatch.setattr(engine, "run_checks", run_checks)
        return calls

    return says


Doctor = Callable[[Any], list[Any]]


def commands(fake: Cli) -> list[str]:
    return [a[0] for a, _, _ in fake.calls if a[:2] != ["stack", "export"]]


def test_an_up_is_looked_at_first_and_only_what_matters_is_told(fake: Cli, doctor: Doctor) -> None:
    calls = doctor(0)
    assert engine.main(["up", "--stack", "ha"]) == 0
    ((args, kwargs),) = calls
    assert args == ("ha", PROJECT_FOLDER) and kwargs["brief"] is True
    assert commands(fake) == ["stack", "preview", "up"]


def test_a_failure_stops_it_and_says_how_to_go_on(
    fake: Cli, doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor(1)
    assert engine.main(["up"]) == 1
    assert commands(fake) == ["stack"]
    said = capsys.readouterr().err
    assert "Nothing has been changed" in said and "make up DOCTOR=no" in said


def test_who_skips_the_doctor_is_not_looked_at(fake: Cli, doctor: Doctor) -> None:
    calls = doctor(1)
    assert engine.main(["up", "--skip-doctor"]) == 0
    assert calls == [] and commands(fake) == ["stack", "preview", "up"]


def test_wrong_settings_are_two_and_nothing_is_changed(
    fake: Cli, doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor(SettingsError([Problem("cluster.vip", "1", "is wrong", "mend it")], "homelab"))
    assert engine.main(["up"]) == 2
    assert commands(fake) == ["stack"]
    assert "cluster.vip = 1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["preview", "refresh", "cancel"])
def test_nothing_but_an_up_is_looked_at(fake: Cli, doctor: Doctor, command: str) -> None:
    calls = doctor(1)
    assert engine.main([command]) == 0
    assert calls == []


# The passphrase -----------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A person at a terminal, who knows the passphrase; returns what was asked."""
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "horse"

    monkeypatch.setattr(getpass, "getpass", answer)
    for name in (passphrase.VARIABLE, passphrase.FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return asked


@pytest.fixture
def encrypted(tmp_path: Path) -> Path:
    file = tmp_path / "Pulumi.homelab.yaml"
    file.write_text("config: {}\nencryptionsalt: v1:abc\n")
    return file


def test_it_is_asked_once_for_the_doctor_and_for_the_engine(
    fake: Cli,
    doctor: Doctor,
    terminal: list[str],
    encrypted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "PROJECT_FOLDER", encrypted.parent)
    fake.does(
        "word = os.environ.get('PULUMI_CONFIG_PASSPHRASE')\n"
        "if arguments[0] == 'config' and word == 'horse':\n"
        f"    print(json.dumps({{{TOKEN!r}: {{'value': 'a token', 'secret': True}}}}))\n"
        "sys.exit(0 if arguments[0] == 'stack' or word == 'horse' else 9)"
    )
    doctor(lambda kwargs: 0 if kwargs["open_token"]() == "a token" else 1)
    assert engine.main(["up"]) == 0
    assert commands(fake) == ["stack", "config", "preview", "up"]
    assert len(terminal) == 1 and "Pulumi.homelab.yaml" in terminal[0]


def test_it_is_not_asked_for_where_it_is_known_or_not_needed(
    terminal: list[str], encrypted: Path, tmp_path: Path
) -> None:
    for name in (passphrase.VARIABLE, passphrase.FILE_VARIABLE):
        passphrase.ask_once({name: "x"}, encrypted)
    plain = tmp_path / "Pulumi.plain.yaml"
    plain.write_text("config: {}\n")
    passphrase.ask_once({}, plain)
    assert terminal == []


def test_it_is_not_asked_for_where_nobody_sits(
    terminal: list[str], encrypted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    environment: dict[str, str] = {}
    passphrase.ask_once(environment, encrypted)
    assert (terminal, environment) == ([], {})
