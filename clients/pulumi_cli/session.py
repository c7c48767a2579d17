"""Runs the Pulumi CLI for one stack of this project, with one private temporary folder."""

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

READ_ONLY_COMMAND = "preview"
"""The only command for ``Session.run`` that does not change the state."""
CONFIG = ("config", "--json", "--show-secrets")
"""Arguments of the CLI that print all settings of a stack, secrets included."""


class SessionError(Exception):
    """A command of the CLI failed. The text is that of the CLI."""


class Session:
    """Runs the CLI for one stack, and caches its answers.

    The settings are read once. The state is read again after each command that may change it.
    """

    def __init__(self, pulumi: Path, stack: str, temporary: Path) -> None:
        """``pulumi`` is the path of the CLI, ``temporary`` a private folder."""
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
        """Select the stack, and create it if it is missing; returns the exit code."""
        return self._run([str(self.pulumi), "stack", "select", "--create", self.stack])

    def run(
        self,
        words: Sequence[str],
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command in the foreground; returns its exit code."""
        code = self._run([*self._command(words), *more], environment)
        if words[0] != READ_ONLY_COMMAND:
            self._clear_state()
        return code

    def succeeds(self, words: Sequence[str]) -> bool:
        """Run a command without output; returns whether it succeeds."""
        return self._capture(words).returncode == 0

    def read(self, words: Sequence[str]) -> bytes:
        """Run a command and return its output. Raises ``SessionError``."""
        done = self._capture(words)
        if done.returncode != 0:
            raise SessionError(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def deployment(self, *, secrets: bool = False) -> dict[str, Any]:
        """The deployment in the state, with ``resources`` and ``pending_operations``.

        With ``secrets``, secrets are in plain text: never write them to a file. Raises
        ``SessionError``.
        """
        found: dict[str, Any] = self.exported(secrets=secrets).get("deployment") or {}
        return found

    def exported(self, *, secrets: bool = False) -> dict[str, Any]:
        """The exported state; do not modify it. Raises ``SessionError``."""
        show = ["--show-secrets"] if secrets else []
        with self._lock:
            if secrets not in self._exported:
                try:
                    found = json.loads(self.read(["stack", "export", *show]))
                except ValueError:
                    raise SessionError("the state that the Pulumi CLI exports is invalid") from None
                self._exported[secrets] = found
            return self._exported[secrets]

    def config(self) -> bytes:
        """The settings of the stack as JSON, with secrets: never write them to a file.

        Raises ``SessionError``.
        """
        with self._lock:
            if self._config is None:
                self._config = self.read(CONFIG)
            return self._config

    def replace_state(self, exported: Mapping[str, Any]) -> None:
        """Import a state, whose secrets must be encrypted. Raises ``SessionError``.

        The Pulumi backend keeps the previous state in its history.
        """
        file = self.temporary / "state.json"
        file.write_text(json.dumps(exported), encoding="utf-8")
        self.read(["stack", "import", "--file", str(file)])
        self._clear_state()

    def _clear_state(self) -> None:
        """Clear the cached state. Needs the lock, because a check of ``make doctor`` in another
        thread may read it."""
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
        """Run a command in the foreground and wait for its end, in spite of signals.

        The terminal sends Ctrl-C to the CLI too, and the CLI needs time to stop. SIGTERM and SIGHUP
        are forwarded to it as SIGINT. If this process ended first, it would delete the temporary
        folder that the CLI still uses.
        """
        child = subprocess.Popen(
            command, cwd=PROJECT_FOLDER, env=self.environment | dict(environment or {})
        )

        def forward(number: int, frame: FrameType | None) -> None:
            if number != signal.SIGINT:
                child.send_signal(signal.SIGINT)

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        old_handlers = {number: signal.signal(number, forward) for number in signals}
        try:
            return child.wait()
        finally:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)
