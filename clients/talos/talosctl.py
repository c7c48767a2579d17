"""Runs ``talosctl``.

Its credentials are in a file in memory (on macOS in a private temporary file), never in arguments.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from clients.errors import OperationError
from clients.talos.errors import UNKNOWN, TalosError
from clients.tls import ClientCredentials
from settings.compatibility import minor_of

COMMAND_TIMEOUT_S = 60
"""Default timeout of a command in seconds."""
TRIES = 3
"""Number of attempts if a command cannot connect."""
PAUSE_S = 2
"""Seconds between two attempts."""
MINIMUM_VERSION = (1, 13)
"""The oldest version of ``talosctl`` that was tested with this program."""

_NO_CONNECTION = "connection error"
"""Part of gRPC's error if it cannot connect."""


def require(talos: str) -> None:
    """Raise ``OperationError`` unless PATH has a ``talosctl`` for this Talos version (``v1.13.9``).

    Its minor version must be that of Talos or newer, and ``MINIMUM_VERSION`` or newer.
    """
    wanted = max(MINIMUM_VERSION, minor_of(talos))
    release = talos if wanted == minor_of(talos) else f"v{MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]}"
    fix = (
        f"Put talosctl {release} on PATH (https://docs.siderolabs.com/talos/latest/"
        "getting-started/talosctl) and run this again. Nothing has been touched."
    )
    command = shutil.which("talosctl")
    if command is None:
        raise OperationError(f"This change needs talosctl, which is not on PATH. {fix}")
    try:
        done = subprocess.run(
            [command, "version", "--client", "--short"],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise OperationError(f"{command} does not run: {error.strerror}. {fix}") from None
    except subprocess.TimeoutExpired:
        raise OperationError(
            f"{command} did not print its version within {COMMAND_TIMEOUT_S} s. {fix}"
        ) from None
    found = re.search(r"v\d+\.\d+\.\d+\S*", done.stdout)
    if found is None or minor_of(found[0]) < wanted:
        version = found[0] if found else "an unknown version"
        raise OperationError(f"The talosctl on PATH is {version}, too old for Talos {talos}. {fix}")


class Talosctl:
    """``talosctl`` with the credentials of one cluster."""

    def __init__(self, credentials: ClientCredentials) -> None:
        context = {
            "endpoints": [],
            "ca": credentials.ca_certificate,
            "crt": credentials.client_certificate,
            "key": credentials.client_key,
        }
        self._config = yaml.safe_dump({"context": "castle", "contexts": {"castle": context}})

    def run(
        self,
        address: str,
        *command: str,
        files: Sequence[str] = (),
        limit: float = COMMAND_TIMEOUT_S,
    ) -> str:
        """Run a command on the node at ``address`` and return its standard output.

        ``files`` are contents of temporary files for texts that may be secret. In the command,
        ``{0}``, ``{1}`` … stand for their paths. If talosctl cannot connect, this tries again
        (``TRIES``). ``limit`` is the timeout in seconds. Raises ``TalosError``.
        """
        for _ in range(TRIES - 1):
            try:
                return self._run_once(address, command, files, limit).stdout
            except TalosError as error:
                if error.status is not None:
                    raise
            time.sleep(PAUSE_S)
        return self._run_once(address, command, files, limit).stdout

    def run_once(self, address: str, *command: str, files: Sequence[str] = ()) -> str:
        """The same without retries; returns the standard error, where talosctl prints a dry run."""
        return self._run_once(address, command, files, COMMAND_TIMEOUT_S).stderr

    def _run_once(
        self, address: str, command: Sequence[str], files: Sequence[str], limit: float
    ) -> subprocess.CompletedProcess[str]:
        operation = f"`talosctl {' '.join(command)}`"
        with ExitStack() as stack:
            opened = [stack.enter_context(_temporary_file(text)) for text in (self._config, *files)]
            paths = [path for path, _ in opened]
            descriptors = [it for _, inherited in opened for it in inherited]
            words = [word.format(*paths[1:]) if files else word for word in command]
            arguments = [
                *("talosctl", *words),
                *("-e", address, "-n", address, "--talosconfig", paths[0]),
            ]
            try:
                done = subprocess.run(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=limit,
                    pass_fds=descriptors,
                    check=False,
                )
            except FileNotFoundError:
                raise TalosError(operation, address, "talosctl is not on PATH", UNKNOWN) from None
            except OSError as error:
                detail = f"talosctl does not run: {error.strerror}"
                raise TalosError(operation, address, detail, UNKNOWN) from None
            except subprocess.TimeoutExpired:
                detail = f"it did not end within {limit:.0f} s"
                raise TalosError(operation, address, detail, UNKNOWN) from None
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            detail = lines[-1] if lines else "failed without an error message"
            raise TalosError(
                operation, address, detail, None if _NO_CONNECTION in detail else UNKNOWN
            )
        return done


@contextmanager
def _temporary_file(text: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the path of a file with this text, and the file descriptors that talosctl must inherit.

    On Linux the file is in memory. It can be opened several times.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("talosconfig")
        try:
            os.write(descriptor, text.encode())
            yield f"/dev/fd/{descriptor}", [descriptor]
        finally:
            os.close(descriptor)
        return
    # macOS has no files in memory: use a file in a private folder, deleted afterwards.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talosconfig"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        yield str(path), []
