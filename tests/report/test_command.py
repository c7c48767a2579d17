"""``python -m report``: its files, its output and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rehearsal import answers
from report import __main__ as command
from report import gather
from settings import resource_types
from tests.report.test_page import Page

pytestmark = pytest.mark.usefixtures("resources")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary project folder for pages and records."""
    monkeypatch.setattr(command, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(gather.build_report, "__defaults__", (tmp_path,))
    return tmp_path


def test_the_page_is_named_after_its_stack(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--stack", "ha"]) == 0
    assert (project / "report-ha.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "report-ha.html: open it in a browser" in capsys.readouterr().out


def test_json_has_the_numbers_of_the_page_and_writes_no_page(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--json"]) == 0
    numbers: Any = json.loads(capsys.readouterr().out)
    assert list(project.iterdir()) == []
    assert command.main([]) == 0
    page = Page((project / "report-homelab.html").read_text(encoding="utf-8"))
    for path, (value, _) in page.values.items():
        found = numbers
        for part in path.split("."):
            found = found[int(part)] if isinstance(found, list) else found[part]
        assert value == str(found)


def test_output_sets_the_path_of_the_page(project: Path) -> None:
    assert command.main(["--output", str(project / "elsewhere.html")]) == 0
    assert [file.name for file in project.iterdir()] == ["elsewhere.html"]


def test_exit_code_is_1_and_the_page_shows_why_a_resource_would_be_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(answers._RESOURCES, resource_types.SCHEMATIC)
    assert command.main([]) == 1
    text = (project / "report-homelab.html").read_text(encoding="utf-8")
    assert resource_types.SCHEMATIC in text and "Providers would refuse 1 of " in text


def test_exit_code_is_2_without_a_page_with_wrong_settings(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--stack", "homlab"]) == 2
    assert "did you mean homelab?" in capsys.readouterr().err
    assert list(project.iterdir()) == []


def test_exit_code_is_3_if_the_page_cannot_be_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--output", str(project / "no" / "folder.html")]) == 3
    assert "could not be written: No such file or directory" in capsys.readouterr().err
