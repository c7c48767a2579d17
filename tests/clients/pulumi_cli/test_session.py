"""Reading the Pulumi state with encrypted secrets and without questions to the user."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.pulumi_cli import cli as cli_of_the_project
from clients.pulumi_cli.session import PulumiError, StackReader

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


def read(project: Path) -> list[dict[str, Any]]:
    reader = StackReader(cli_of_the_project.installed(project), "homelab", project)
    return reader.resources()


def test_the_resources_of_the_state_are_returned(cli: Path, tmp_path: Path) -> None:
    write_cli(cli, """print('{"deployment": {"resources": [{"urn": "a"}]}}')""")
    assert read(tmp_path) == [{"urn": "a"}]


def test_a_cli_in_the_project_folder_is_used(
    cli: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cli(cli, "print('{\"deployment\": {}}')")
    monkeypatch.setenv("PATH", os.devnull)
    assert read(tmp_path) == []


def test_a_stack_that_does_not_exist_has_no_resources(cli: Path, tmp_path: Path) -> None:
    write_cli(cli, "sys.exit(6)")
    assert read(tmp_path) == []


@pytest.mark.parametrize(
    ("then", "status"),
    [("sys.exit('error: cannot open postgres://me:a-password@db')", 1), ("sys.exit(9)", 9)],
)
def test_the_error_for_an_unreadable_state_has_a_form_without_the_output_of_the_cli(
    cli: Path, tmp_path: Path, then: str, status: int
) -> None:
    write_cli(cli, then)
    with pytest.raises(PulumiError) as found:
        read(tmp_path)
    error = found.value
    assert (error.operation, error.status) == ("pulumi stack export --stack homelab", status)
    assert ("a-password" in str(error)) == ("a-password" in then)
    assert error.without_output == "`pulumi stack export --stack homelab` shows the reason"


@pytest.mark.parametrize("output", ["no json", "[]"])
def test_a_state_that_is_no_json_object_is_an_error(cli: Path, tmp_path: Path, output: str) -> None:
    write_cli(cli, f"print({output!r})")
    with pytest.raises(PulumiError, match="`pulumi stack export` prints no JSON object"):
        read(tmp_path)


def test_a_cli_that_does_not_answer_is_an_error(
    cli: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StackReader, "_timeout_s", 0.01)
    write_cli(cli, "import time; time.sleep(60)")
    with pytest.raises(PulumiError, match=r"did not answer within 0\.01 s") as found:
        read(tmp_path)
    assert found.value.without_output == str(found.value)


def test_a_cli_that_does_not_start_is_an_error(cli: Path, tmp_path: Path) -> None:
    cli.write_text("#!/nonexistent/python")
    cli.chmod(0o755)
    with pytest.raises(PulumiError, match="does not start: No such file or directory"):
        read(tmp_path)


def test_a_missing_cli_is_an_error_and_is_not_installed(cli: Path, tmp_path: Path) -> None:
    with pytest.raises(PulumiError, match="there is no Pulumi CLI"):
        read(tmp_path)
