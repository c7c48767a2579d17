"""``make rack`` in a copy of the program, and what of it is left: files, and processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from settings.project import PROJECT_FOLDER
from tests.e2e.lab import SEARCHED

_IGNORED = shutil.ignore_patterns(".*", "__pycache__", "docs")
_LIMIT = 120
"""Seconds that a rack may take to end."""


class Trial:
    """A rack that is started as a person would, and ended as a person would."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.program = folder / "castle"
        """The copy of the program."""
        self.temporary = folder / "tmp"
        """Where its temporary files lie."""
        shutil.copytree(PROJECT_FOLDER, self.program, ignore=_IGNORED)
        # The engine runs the program in this environment, and makes one where there is none.
        (self.program / ".venv").symlink_to(sys.prefix)
        self.temporary.mkdir()
        self.environment = {
            **os.environ,
            "PATH": SEARCHED,
            **environment,
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        self._before = set(self.program.rglob("*"))
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        """End it if a test has failed before it could."""
        if self._process and self._process.poll() is None:
            self.end(signal.SIGTERM)

    def start(self) -> list[str]:
        """Start the rack, and return what it tells a person, line by line."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.try_rack"],
            cwd=self.program,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                return lines
        raise AssertionError("".join(lines))

    def end(self, number: signal.Signals) -> None:
        """End it as a terminal does: the signal reaches all that runs in the foreground."""
        assert self._process is not None
        os.killpg(self._process.pid, number)
        assert self._process.wait(_LIMIT) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()

    def files(self) -> list[Path]:
        """What lies in the temporary folder, and what is new beside the program."""
        new = set(self.program.rglob("*")) - self._before
        return sorted([*self.temporary.iterdir(), *new])

    def processes(self) -> list[str]:
        """The command lines of all processes that live in the trial's folder, or name it."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(self._folder) in command + str((entry / "cwd").readlink()):
                    found.append(command)
        return found
