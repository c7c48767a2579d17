"""A Pulumi CLI of ours, which answers what a test wants and writes down how it was called."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

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
    """The state of a stack with a cluster, its secrets open, as the CLI exports it."""
    secret = {"4dabf18193072939515e22adb298388d": "1b47", "plaintext": json.dumps(kubeconfig)}
    stack = {"type": "pulumi:pulumi:Stack", "outputs": {"kubeconfig": secret}}
    return {"version": 3, "deployment": {"resources": [stack]}}


class Cli:
    """A CLI of ours on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._answers = [EMPTY_STATE]
        self.does("sys.exit(0)")

    def does(self, then: str) -> None:
        """What it does with every command that has no answer of its own."""
        file = self.folder / "pulumi"
        answers = self.folder / "answers"
        answers.write_text(json.dumps(self._answers))
        file.write_text(
            FAKE.format(python=sys.executable, log=str(self.log), answers=str(answers), then=then)
        )
        file.chmod(0o755)

    def answers(self, words: str, output: Any = "", code: int = 0) -> None:
        """What it prints for a command that begins with these words."""
        text = output if isinstance(output, str) else json.dumps(output)
        self._answers.insert(0, (words.split(), text, code))
        (self.folder / "answers").write_text(json.dumps(self._answers))

    @property
    def calls(self) -> list[Any]:
        """Of each call: the arguments, the temporary folder, and its mode."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def words(self) -> list[str]:
        """The calls that change something, as text."""
        quiet = ("stack select", "stack export", "config --json", "preview")
        called = [
            " ".join(arguments).partition(" --event-log ")[0] for arguments, _, _ in self.calls
        ]
        return [words for words in called if not words.startswith(quiet)]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The CLI, with a state of its own that is empty."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/state")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    # A doctor who is content.
    monkeypatch.setattr("commands.__main__.run_checks", lambda *args, **kwargs: 0)
    # A person who agrees to the update itself (tests/commands/test_up.py has the question).
    monkeypatch.setattr("commands.up.confirmed", lambda *args, **kwargs: True)
    return Cli(binaries)
