"""Runs ``talosctl``, the one tool that Talos' own steps need.

It gets its credentials as a file that is in memory alone and goes with it: never as an argument,
and never on a disk.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import yaml

from clients.errors import OperationError

LIMIT = 60
"""Seconds that a command may take which only asks."""
TRIES = 3
"""How often a command is run whose connection does not come about."""
PAUSE = 2
"""Seconds between two tries."""
OLDEST = (1, 13)
"""Oldest ``talosctl`` that the castle was run with."""

_NO_CONNECTION = "connection error"
"""What gRPC says where it reached nobody."""


class TalosctlError(OperationError):
    """``talosctl`` is not there, too old, or said no; its own words are at the end."""


class UnreachableError(TalosctlError):
    """No connection came about, so nothing was done."""


def require(talos: str) -> None:
    """Raise ``TalosctlError`` unless there is a ``talosctl`` for a Talos version like v1.13.9."""
    wanted = max(OLDEST, _minor(talos))
    release = talos if wanted == _minor(talos) else f"v{OLDEST[0]}.{OLDEST[1]}"
    fix = (
        f"Put talosctl {release} on PATH (https://docs.siderolabs.com/talos/latest/"
        "getting-started/talosctl) and run this again. Nothing has been touched."
    )
    command = shutil.which("talosctl")
    if command is None:
        raise TalosctlError(f"This change needs talosctl, which is not on PATH. {fix}")
    try:
        done = subprocess.run(
            [command, "version", "--client", "--short"],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except OSError as error:
        raise TalosctlError(f"{command} does not run: {error.strerror}. {fix}") from None
    except subprocess.TimeoutExpired:
        raise TalosctlError(
            f"{command} does not tell its version within {LIMIT} s. {fix}"
        ) from None
    found = re.search(r"v\d+\.\d+\.\d+\S*", done.stdout)
    if found is None or _minor(found[0]) < wanted:
        has = found[0] if found else "of an unknown version"
        raise TalosctlError(f"The talosctl on PATH is {has}, too old for Talos {talos}. {fix}")


def _minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.removeprefix("v").split(".")
    return int(major), int(minor)


class Talosctl:
    """``talosctl`` with the credentials of one cluster."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        """``credentials`` are a Talos ``client_configuration``."""
        context = {
            "endpoints": [],
            "ca": credentials["ca_certificate"],
            "crt": credentials["client_certificate"],
            "key": credentials["client_key"],
        }
        self._config = yaml.safe_dump({"context": "castle", "contexts": {"castle": context}})

    def run(
        self, address: str, *command: str, files: Sequence[str] = (), limit: float = LIMIT
    ) -> str:
        """Run a command on the node at ``address``, asked directly; return what it printed.

        ``files`` are texts that the command names ``{0}``, ``{1}`` ...: what may be secret is no
        argument. Where no connection came about nothing was done, and it is tried again a few
        times. Raises ``TalosctlError``.
        """
        for _ in range(TRIES - 1):
            with suppress(UnreachableError):
                return self._run_once(address, command, files, limit).stdout
            time.sleep(PAUSE)
        return self._run_once(address, command, files, limit).stdout

    def run_once(self, address: str, *command: str, files: Sequence[str] = ()) -> str:
        """The same, tried once; return what it said beside what it printed."""
        return self._run_once(address, command, files, LIMIT).stderr

    def _run_once(
        self, address: str, command: Sequence[str], files: Sequence[str], limit: float
    ) -> subprocess.CompletedProcess[str]:
        with ExitStack() as stack:
            opened = [stack.enter_context(_file(text)) for text in (self._config, *files)]
            paths = [path for path, _ in opened]
            descriptors = [it for _, held in opened for it in held]
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
                raise TalosctlError("talosctl is not on PATH") from None
            except OSError as error:
                raise TalosctlError(f"talosctl does not run: {error.strerror}") from None
            except subprocess.TimeoutExpired:
                raise TalosctlError(
                    f"`talosctl {' '.join(command)}` on {address} did not end within {limit:.0f} s"
                ) from None
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            told = f"`talosctl {' '.join(command)}` on {address}: {said[-1] if said else 'failed'}"
            raise UnreachableError(told) if _NO_CONNECTION in told else TalosctlError(told)
        return done


@contextmanager
def _file(text: str) -> Iterator[tuple[str, Sequence[int]]]:
    """A file that can be opened as often as talosctl likes, and that is in memory alone."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("talosconfig")
        try:
            os.write(descriptor, text.encode())
            yield f"/dev/fd/{descriptor}", [descriptor]
        finally:
            os.close(descriptor)
        return
    # macOS has no such thing: there it is in a folder of our own, and wiped at once.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talosconfig"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        yield str(path), []
