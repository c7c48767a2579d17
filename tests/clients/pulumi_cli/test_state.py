"""Reading the engine's state: with its secrets closed, and never asking for anything."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clients.pulumi_cli import state

CLI = """#!{python}
import sys
assert sys.argv[1:] == ["stack", "export", "--stack", "homelab", "--non-interactive"], sys.argv
assert sys.stdin.read() == ""
{then}
"""


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a CLI of ours goes; no other is on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "pulumi"


def answers(cli: Path, then: str) -> None:
    cli.write_text(CLI.format(python=sys.executable, then=then))
    cli.chmod(0o755)


def test_the_resources_are_read(cli: Path, tmp_path: Path) -> None:
    answers(cli, """print('{"deployment": {"resources": [{"urn": "a"}]}}')""")
    assert state.resources(tmp_path, tmp_path, "homelab") == [{"urn": "a"}]


def test_the_cli_beside_the_project_is_found_too(
    cli: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(cli, "print('{\"deployment\": {}}')")
    monkeypatch.setenv("PATH", os.devnull)
    assert state.resources(tmp_path, tmp_path, "homelab") == []


def test_a_stack_that_was_never_made_is_empty(cli: Path, tmp_path: Path) -> None:
    answers(cli, "sys.exit(6)")
    assert state.resources(tmp_path, tmp_path, "homelab") == []


@pytest.mark.parametrize(
    "then",
    [
        "sys.exit('error: cannot open postgres://me:a-password@db')",
        "sys.exit(1)",
        "print('no json')",
        "print('[]')",
    ],
)
def test_what_cannot_be_read_is_one_sentence_that_repeats_nothing(
    cli: Path, tmp_path: Path, then: str
) -> None:
    answers(cli, then)
    with pytest.raises(state.NoStateError) as found:
        state.resources(tmp_path, tmp_path, "homelab")
    expected = "the state cannot be read; `pulumi stack export --stack homelab` says why"
    assert str(found.value) == expected


def test_without_a_cli_none_is_installed(cli: Path, tmp_path: Path) -> None:
    with pytest.raises(state.NoStateError, match="there is no Pulumi CLI"):
        state.resources(tmp_path, tmp_path, "homelab")
