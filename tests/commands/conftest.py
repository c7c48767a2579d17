"""A fake Pulumi CLI on PATH, which prints prepared answers and logs its calls."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pulumi
import pytest

from clients.proxmox.api import ProxmoxError

FAKE = """#!{python}
import json, os, pathlib, signal, sys, time
arguments = sys.argv[1:]
folder = pathlib.Path(os.environ["TMPDIR"])
(folder / "kubeconfig123").write_text("an admin key")
with open({log!r}, "a") as log:
    print(json.dumps([arguments, str(folder), oct(folder.stat().st_mode)]), file=log)
for words, output, code in json.load(open({answers!r})):
    if arguments[:len(words)] == words:
        print(output)
        sys.exit(code)
{then}
"""


EMPTY_STATE = (["stack", "export"], '{"version": 3, "deployment": {}}', 0)


def opened_state(kubeconfig: str) -> dict[str, Any]:
    """The exported state of a stack with a cluster, with secrets in plain text."""
    secret = {"4dabf18193072939515e22adb298388d": "1b47", "plaintext": json.dumps(kubeconfig)}
    stack = {"type": "pulumi:pulumi:Stack", "outputs": {"kubeconfig": secret}}
    return {"version": 3, "deployment": {"resources": [stack]}}


class Cli:
    """A fake Pulumi CLI on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._answers = [EMPTY_STATE]
        self.does("sys.exit(0)")

    def does(self, then: str) -> None:
        """Set the Python code that runs for every command without a prepared answer."""
        file = self.folder / "pulumi"
        answers = self.folder / "answers"
        answers.write_text(json.dumps(self._answers))
        file.write_text(
            FAKE.format(python=sys.executable, log=str(self.log), answers=str(answers), then=then)
        )
        file.chmod(0o755)

    def answers(self, words: str, output: Any = "", code: int = 0) -> None:
        """Set output and exit code of all commands that begin with these words."""
        text = output if isinstance(output, str) else json.dumps(output)
        self._answers.insert(0, (words.split(), text, code))
        (self.folder / "answers").write_text(json.dumps(self._answers))

    @property
    def calls(self) -> list[Any]:
        """For each call: the arguments, the temporary folder and its mode."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def words(self) -> list[str]:
        """The calls that can change something, each as one string without the event log."""
        read_only = ("stack select", "stack export", "config --json", "preview")
        calls = [
            " ".join(arguments).partition(" --event-log ")[0] for arguments, _, _ in self.calls
        ]
        return [call for call in calls if not call.startswith(read_only)]


@pytest.fixture(autouse=True)
def _forget_settings() -> Iterator[None]:
    """Pulumi keeps the settings that a command has read for the whole process, and later tests
    would hide their values."""
    yield
    pulumi.runtime.set_all_config({}, [])


def _no_answer(path: str, method: str = "GET", form: object = None) -> NoReturn:
    raise ProxmoxError(f"{method} {path}", "https://pve:8006", "no answer in time")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The fake CLI, with an empty state; the doctor finds no failure, updates are confirmed, and
    Proxmox does not answer."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/state")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr("commands.__main__.run_checks", lambda *args, **kwargs: 0)
    monkeypatch.setattr("clients.proxmox.api.caller", lambda *_: _no_answer)
    # The question before an update is tested in tests/commands/test_up.py.
    monkeypatch.setattr("commands.up.confirmed", lambda *args, **kwargs: True)
    return Cli(binaries)
