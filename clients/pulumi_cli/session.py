"""Runs the Pulumi CLI for one stack of this project. No other module starts the CLI."""

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

from clients.errors import ClientError
from clients.pulumi_cli.secrets import SecretsError, decrypted
from settings.project import PROJECT_FOLDER

READ_ONLY_COMMAND = "preview"
"""The only command for ``Session.run`` that does not change the state."""
CONFIG = ("config", "--json", "--show-secrets")
"""Arguments of the CLI that print all settings of a stack, secrets included."""
EXPORT = ("stack", "export")
"""Arguments of the CLI that print the state of a stack, with encrypted secrets."""
_NO_SUCH_STACK = 6
"""Exit code of the CLI (pulumi pkg/cmd/pulumi/cmd/exit_codes.go, ExitStackNotFound)."""


class PulumiError(ClientError):
    """A command of the CLI failed. ``operation`` is the command, ``subject`` the stack, ``status``
    the exit code, or None if the CLI did not answer. ``detail``, the text, is what the CLI printed.
    """

    def __str__(self) -> str:
        return self.detail

    @property
    def without_output(self) -> str:
        """The reason without the CLI's output: a URL of a backend in it may contain a password."""
        return self.detail if self.status is None else f"`{self.operation}` shows the reason"


class StackReader:
    """Reads settings and state of a stack with the CLI, and caches the answers."""

    _timeout_s: float | None = 60
    """Seconds in which the CLI must answer."""

    def __init__(self, pulumi: Path | None, stack: str, project: Path = PROJECT_FOLDER) -> None:
        """``pulumi`` is the path of the CLI; without it each command raises ``PulumiError``."""
        self.pulumi = pulumi
        self.stack = stack
        self.project = project
        self.environment = dict(os.environ)
        """Variables of the CLI."""
        self._lock = threading.Lock()
        self._exported: dict[bool, dict[str, Any]] = {}
        self._config: dict[str, Any] | None = None

    def read(self, words: Sequence[str], given: str = "") -> bytes:
        """Run a command with ``given`` on standard input and return its output.

        Raises ``PulumiError``.
        """
        done = self._capture(words, given)
        if done.returncode != 0:
            detail = done.stderr.decode(errors="replace").strip()
            raise self._error(words, detail, done.returncode)
        return done.stdout

    def resources(self, *, secrets: bool = False) -> list[dict[str, Any]]:
        """The resources in the state; empty if the stack does not exist.

        With ``secrets``, secrets are in plain text, otherwise encrypted. Never write them to a file
        in plain text. Raises ``PulumiError``.
        """
        try:
            deployment = self.deployment(secrets=secrets)
        except PulumiError as error:
            if error.status == _NO_SUCH_STACK:
                return []
            raise
        found: list[dict[str, Any]] = deployment.get("resources") or []
        return found

    def deployment(self, *, secrets: bool = False) -> dict[str, Any]:
        """The deployment in the state, with ``resources`` and ``pending_operations``.

        With ``secrets``, secrets are in plain text, otherwise encrypted. Raises ``PulumiError``.
        """
        found: dict[str, Any] | None = self.exported(secrets=secrets).get("deployment")
        return found or {}

    def exported(self, *, secrets: bool = False) -> dict[str, Any]:
        """The exported state; do not modify it. With ``secrets``, secrets are in plain text.

        Exports the state once for both forms, unless only the CLI can decrypt the secrets. Raises
        ``PulumiError``.
        """
        with self._lock:
            if False not in self._exported:
                self._exported[False] = self._read_object(EXPORT)
            if secrets and True not in self._exported:
                self._exported[True] = self._decrypt(self._exported[False])
            return self._exported[secrets]

    def _decrypt(self, exported: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return decrypted(exported, self.environment)
        except SecretsError:
            return self._read_object([*EXPORT, "--show-secrets"])

    def config(self) -> dict[str, Any]:
        """The entries ``value`` and ``secret`` of each setting of the stack, secrets in plain text:
        never write them to a file.

        Raises ``PulumiError``.
        """
        with self._lock:
            if self._config is None:
                self._config = self._read_object(CONFIG)
            return self._config

    def _read_object(self, words: Sequence[str]) -> dict[str, Any]:
        """Run a command that prints a JSON object. Raises ``PulumiError``."""
        try:
            found = json.loads(self.read(words))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._error(words, f"`pulumi {' '.join(words)}` prints no JSON object")
        return found

    def _executable(self) -> str:
        if self.pulumi is None:
            raise PulumiError(
                "pulumi",
                self.stack,
                "there is no Pulumi CLI to read the state (the stack may not exist yet, or its "
                "state is on another computer)",
            )
        return str(self.pulumi)

    def _command(self, words: Sequence[str]) -> list[str]:
        return [self._executable(), *words, "--stack", self.stack]

    def _error(self, words: Sequence[str], detail: str, status: int | None = None) -> PulumiError:
        return PulumiError(
            f"pulumi {' '.join(words)} --stack {self.stack}", self.stack, detail, status
        )

    def _capture(self, words: Sequence[str], given: str = "") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [*self._command(words), "--non-interactive"],
                cwd=self.project,
                env=self.environment | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
                input=given.encode(),
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            detail = f"the Pulumi CLI did not answer within {self._timeout_s} s"
            raise self._error(words, detail) from None
        except OSError as error:
            detail = f"the Pulumi CLI does not start: {error.strerror}"
            raise self._error(words, detail) from None


class Session(StackReader):
    """Runs commands that change a stack, with one private temporary folder.

    The settings are read once. The state is read again after each command that may change it.
    """

    _timeout_s = None

    def __init__(
        self, pulumi: Path, stack: str, temporary: Path, project: Path = PROJECT_FOLDER
    ) -> None:
        """``pulumi`` is the path of the CLI, ``temporary`` a private folder."""
        super().__init__(pulumi, stack, project)
        self.temporary = temporary
        self.may_have_changed_state = False
        """Whether a command ran that may have changed the state."""
        self.environment |= {
            "TMPDIR": str(temporary),
            "PATH": f"{pulumi.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def select(self) -> int:
        """Select the stack, and create it if it is missing; returns the exit code."""
        return self._run([self._executable(), "stack", "select", "--create", self.stack])

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

    def replace_state(self, exported: Mapping[str, Any]) -> None:
        """Import a state, whose secrets must be encrypted. Raises ``PulumiError``.

        The Pulumi backend keeps the previous state in its history.
        """
        file = self.temporary / "state.json"
        file.write_text(json.dumps(exported), encoding="utf-8")
        self.read(["stack", "import", "--file", str(file)])
        self._clear_state()

    def _clear_state(self) -> None:
        """Clear the cached state after a command that may have changed it.

        Needs the lock, because a check of ``make doctor`` in another thread may read it.
        """
        self.may_have_changed_state = True
        with self._lock:
            self._exported = {}

    def _run(self, command: list[str], environment: Mapping[str, str] | None = None) -> int:
        """Run a command in the foreground and wait for its end, in spite of signals.

        The terminal sends Ctrl-C to the CLI too, and the CLI needs time to stop. SIGTERM and SIGHUP
        are forwarded to it as SIGINT. If this process ended first, it would delete the temporary
        folder that the CLI still uses.
        """
        child = subprocess.Popen(
            command, cwd=self.project, env=self.environment | dict(environment or {})
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
