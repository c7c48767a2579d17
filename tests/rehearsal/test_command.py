"""``python -m rehearsal``: exit codes, standard output and standard error."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from rehearsal import __main__ as command
from rehearsal import answers
from rehearsal.run import Rehearsal
from rehearsal.show import show
from settings import resource_types
from tests.rehearsal.conftest import Vary


@pytest.fixture
def unknown_schematic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock provider that cannot answer one resource type."""
    monkeypatch.delitem(answers._RESOURCES, resource_types.SCHEMATIC)


def test_a_stack_without_problems_is_exit_code_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "homelab"]) == 0
    out, err = capsys.readouterr()
    assert "No problems." in out
    assert "https://tazlab.net" in out
    assert err == ""


def test_the_default_stack_is_homelab(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    assert "up of stack homelab" in capsys.readouterr().out


@pytest.mark.usefixtures("unknown_schematic")
def test_a_request_without_an_answer_is_exit_code_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "homelab"]) == 1
    out = capsys.readouterr().out
    assert "Problems: 1" in out
    assert f"no mock answer for resource type {resource_types.SCHEMATIC}" in " ".join(out.split())
    assert "No problems." not in out


@pytest.mark.usefixtures("unknown_schematic")
def test_json_lists_a_request_without_an_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["resource"] == "ephemeral-castle"
    assert resource_types.SCHEMATIC in problem["message"]


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_an_unknown_stack_is_exit_code_two(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--stack", "homlab", *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Pulumi.homlab.yaml does not exist" in err
    assert "did you mean homelab?" in err
    assert "Traceback" not in err


def test_json_prints_one_object_and_no_other_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "ha", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["stack"] == "ha"
    assert report["problems"] == []
    assert err == ""


def test_an_unknown_option_is_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        command.main(["--stak", "ha"])
    assert raised.value.code == 2
    assert "--stak" in capsys.readouterr().err


# The text output --------------------------------------------------------------------------------


def printed(found: Rehearsal) -> str:
    """Return the output for a terminal that is wide enough for every line."""
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show(found, console)
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_the_output_has_every_resource_and_every_address(homelab: Rehearsal) -> None:
    text = printed(homelab)
    for resource in homelab.recording.resources:
        assert resource.name in text
    for node in homelab.settings.machines:
        assert str(node.address) in text
    assert "Addresses in 192.168.1.0/24" in text
    assert f"{len(homelab.recording.resources)} resources" in text


def test_the_output_has_the_warnings_of_the_program(homelab: Rehearsal) -> None:
    assert homelab.notes
    assert homelab.notes[0] in printed(homelab)


def test_the_output_has_no_secret(homelab: Rehearsal) -> None:
    text = printed(homelab)
    assert "00000000-0000" not in text
    assert "cmVoZWFyc2Fs" not in text


def test_the_output_marks_the_critical_path(homelab: Rehearsal) -> None:
    lines = printed(homelab).splitlines()
    assert any("* longhorn-release" in line for line in lines)
    assert not any("* metallb-release" in line for line in lines)


def test_brackets_in_names_are_not_markup(vary: Vary) -> None:
    found = vary({})
    found.recording.resources[0].name = "[bold]proxmox[/nonsense]"
    assert "[bold]proxmox[/nonsense]" in printed(found)
