"""The Pulumi CLI, for one stack of this project, in one private temporary folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from settings.project import PROJECT_FOLDER

CHANGES_NOTHING = "preview"
"""The one command that ``run`` is given and that leaves the state as it is."""
CONFIG = ("config", "--json", "--show-secrets")
"""The CLI's words for all that a stack is configured with."""


class SessionError(Exception):
    """The CLI could not tell what it was asked for; the text is its own."""


class Session:
    """Runs the CLI, and hands on its answers.

    It asks for the state and for the configuration once, and for the state again after each command
    that may have changed it.
    """

    def __init__(self, pulumi: Path, stack: str, temporary: Path) -> None:
        """``pulumi`` is the CLI, ``temporary`` a folder that nobody else can read."""
        self.stack = stack
        self.temporary = temporary
        self.pulumi = pulumi
        self._lock = threading.Lock()
        self._exported: dict[bool, dict[str, Any]] = {}
        self._config: bytes | None = None
        self.environment = os.environ | {
            "TMPDIR": str(temporary),
            "PATH": f"{pulumi.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def select(self) -> int:
        """Select the stack, and make it where the backend has none; returns the exit code."""
        return self._run([str(self.pulumi), "stack", "select", "--create", self.stack])

    def run(
        self,
        words: Sequence[str],
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command in the foreground; returns its exit code."""
        code = self._run([*self._command(words), *more], environment)
        if words[0] != CHANGES_NOTHING:
            self._forget_state()
        return code

    def succeeds(self, words: Sequence[str]) -> bool:
        """Run a command without a word, and tell whether it succeeds."""
        return self._capture(words).returncode == 0

    def read(self, words: Sequence[str]) -> bytes:
        """What a command prints; raises ``SessionError`` where it fails."""
        done = self._capture(words)
        if done.returncode != 0:
            raise SessionError(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def deployment(self, *, secrets: bool = False) -> dict[str, Any]:
        """The state: ``resources`` and ``pending_operations``.

        With ``secrets`` they are in plain text, for memory alone. Raises ``SessionError``.
        """
        found: dict[str, Any] = self.exported(secrets=secrets).get("deployment") or {}
        return found

    def exported(self, *, secrets: bool = False) -> dict[str, Any]:
        """The state as the CLI exports it, to be read only. Raises ``SessionError``."""
        show = ["--show-secrets"] if secrets else []
        with self._lock:
            if secrets not in self._exported:
                try:
                    found = json.loads(self.read(["stack", "export", *show]))
                except ValueError:
                    raise SessionError("the CLI exports no state that can be read") from None
                self._exported[secrets] = found
            return self._exported[secrets]

    def config(self) -> bytes:
        """What the stack is configured with, as the CLI prints it; for memory alone.

        Raises ``SessionError``.
        """
        with self._lock:
            if self._config is None:
                self._config = self.read(CONFIG)
            return self._config

    def replace_state(self, exported: Mapping[str, Any]) -> None:
        """Put an exported state, its secrets closed, in place of the stack's own.

        Raises ``SessionError``; the backend keeps the one before.
        """
        file = self.temporary / "state.json"
        file.write_text(json.dumps(exported), encoding="utf-8")
        self.read(["stack", "import", "--file", str(file)])
        self._forget_state()

    def _forget_state(self) -> None:
        """Ask for the state again. A check of the doctor that is late may be reading it still."""
        with self._lock:
            self._exported = {}

    def _command(self, words: Sequence[str]) -> list[str]:
        return [str(self.pulumi), *words, "--stack", self.stack]

    def _capture(self, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self._command(words), "--non-interactive"],
            cwd=PROJECT_FOLDER,
            env=self.environment,
            capture_output=True,
            check=False,
        )

    def _run(self, command: list[str], environment: Mapping[str, str] | None = None) -> int:
        """Run a command in the foreground until it has ended, whatever we are told meanwhile.

        Ctrl-C reaches the CLI by itself, and it needs time to stop cleanly; other signals to end
        are handed on as one. Were we to go first, the folder would be wiped under its feet.
        """
        child = subprocess.Popen(
            command, cwd=PROJECT_FOLDER, env=self.environment | dict(environment or {})
        )

        def hand_on(number: int, frame: FrameType | None) -> None:
            if number != signal.SIGINT:
                child.send_signal(signal.SIGINT)

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, hand_on) for number in signals}
        try:
            return child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
