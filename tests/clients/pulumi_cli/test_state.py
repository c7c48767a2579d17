"""Reading the Pulumi state with encrypted secrets and without questions to the user."""

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
    """The path for a fake CLI; PATH has no other one."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "pulumi"


def write_cli(cli: Path, then: str) -> None:
    cli.write_text(CLI.format(python=sys.executable, then=then))
    cli.chmod(0o755)


def test_the_resources_of_the_state_are_returned(cli: Path, tmp_path: Path) -> None:
    write_cli(cli, """print('{"deployment": {"resources": [{"urn": "a"}]}}')""")
    assert state.resources(tmp_path, tmp_path, "homelab") == [{"urn": "a"}]


def test_a_cli_in_the_project_folder_is_used(
    cli: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cli(cli, "print('{\"deployment\": {}}')")
    monkeypatch.setenv("PATH", os.devnull)
    assert state.resources(tmp_path, tmp_path, "homelab") == []


def test_a_stack_that_does_not_exist_has_no_resources(cli: Path, tmp_path: Path) -> None:
    write_cli(cli, "sys.exit(6)")
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
def test_the_error_for_an_unreadable_state_does_not_quote_the_cli(
    cli: Path, tmp_path: Path, then: str
) -> None:
    write_cli(cli, then)
    with pytest.raises(state.NoStateError) as found:
        state.resources(tmp_path, tmp_path, "homelab")
    expected = "the state cannot be read; `pulumi stack export --stack homelab` shows the reason"
    assert str(found.value) == expected


def test_a_missing_cli_is_an_error_and_is_not_installed(cli: Path, tmp_path: Path) -> None:
    with pytest.raises(state.NoStateError, match="there is no Pulumi CLI"):
        state.resources(tmp_path, tmp_path, "homelab")
