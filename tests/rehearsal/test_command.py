"""``python -m rehearsal``: exit codes, and what goes to which stream."""

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


def test_a_castle_that_can_be_built_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "homelab"]) == 0
    out, err = capsys.readouterr()
    assert "No problems." in out
    assert "https://tazlab.net" in out
    assert err == ""


def test_the_reference_is_rehearsed_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_an_unknown_stack_is_two(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "homlab", *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Pulumi.homlab.yaml does not exist" in err
    assert "did you mean homelab?" in err
    assert "Traceback" not in err


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "ha", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["stack"] == "ha"
    assert report["problems"] == []
    assert err == ""


def test_an_unknown_option_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--stak", "ha"])
    assert ended.value.code == 2
    assert "--stak" in capsys.readouterr().err


# The picture --------------------------------------------------------------------------------------


def drawn(found: Rehearsal) -> str:
    """The picture as text, wide enough that nothing is cut."""
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show(found, console)
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_the_picture_holds_every_resource_and_every_address(homelab: Rehearsal) -> None:
    picture = drawn(homelab)
    for resource in homelab.recording.resources:
        assert resource.name in picture
    for node in homelab.settings.machines:
        assert str(node.address) in picture
    assert "Addresses in 192.168.1.0/24" in picture
    assert f"{len(homelab.recording.resources)} resources" in picture


def test_the_picture_tells_the_programs_warnings(homelab: Rehearsal) -> None:
    assert homelab.notes
    assert homelab.notes[0] in drawn(homelab)


def test_the_picture_shows_no_secret(homelab: Rehearsal) -> None:
    picture = drawn(homelab)
    assert "00000000-0000" not in picture
    assert "cmVoZWFyc2Fs" not in picture


def test_the_picture_marks_what_decides_how_long_it_takes(homelab: Rehearsal) -> None:
    lines = drawn(homelab).splitlines()
    assert any("* longhorn-release" in line for line in lines)
    assert not any("* metallb-release" in line for line in lines)


def test_the_picture_takes_brackets_for_what_they_are(vary: Vary) -> None:
    found = vary({})
    found.recording.resources[0].name = "[bold]proxmox[/nonsense]"
    assert "[bold]proxmox[/nonsense]" in drawn(found)
