"""What ``make`` says if the Python environment of the project does not work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from settings.project import PROJECT_FOLDER

MESSAGE = (
    "The Python environment .venv does not work: its Python was upgraded or removed. Run "
    "`rm -r .venv`, then repeat the command.\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with the Makefile and an installed ``.venv`` without Python."""
    (tmp_path / "Makefile").write_bytes((PROJECT_FOLDER / "Makefile").read_bytes())
    (tmp_path / "rehearsal.py").write_text("print('rehearsed')")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "python").touch()
    (tmp_path / ".venv" / "ready").touch()
    return tmp_path


def rehearse(project: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "rehearse"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_a_removed_python_is_named_with_the_fix(project: Path) -> None:
    (project / ".venv" / "bin" / "python").symlink_to("/usr/bin/python-that-was-removed")
    done = rehearse(project)
    assert done.returncode == 2
    assert done.stdout == MESSAGE
    assert "No such file" not in done.stderr


def test_an_upgraded_python_which_does_not_see_the_packages_is_named(project: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", project / ".venv"], check=True
    )
    (project / ".venv" / "python").touch()
    (project / ".venv" / "ready").touch()
    assert rehearse(project).stdout == MESSAGE


def test_a_working_environment_runs_the_command(project: Path) -> None:
    python = project / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert rehearse(project).stdout == "rehearsed\n"
