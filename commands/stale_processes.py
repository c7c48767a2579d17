"""Finds and removes what a killed run leaves on this computer; without network access.

Four kinds: provider processes that continue without their engine, the lock of the stack, a
half-written ``.attrs`` file beside the state (written unless the backend's URL ends with
``?metadata=skip``), and, after a power cut, a half-written state.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from settings.groups import PROJECT
from settings.state_files import write_private_file

_PLUGINS = ("pulumi-resource-", "pulumi-language-")
_STARTED_BY_ENGINE = ("pulumi-resource", "pulumi-language", "pulumi-analyzer")
"""Prefixes of processes that an engine starts; Linux cuts process names at 15 characters."""
_DYNAMIC = "pulumi.dynamic"
"""Python module that runs dynamic resources; its command line has no name of a plugin."""
TERMINATE_TIMEOUT_S = 10
"""Time for a provider to end after SIGTERM; then it gets SIGKILL."""


@dataclass(frozen=True)
class Lock:
    """A lock file of the Pulumi CLI for the stack."""

    path: Path
    pid: int
    """Process id of the CLI that created the lock."""
    host: str
    """Computer that the CLI ran on."""
    user: str
    since: str
    """Creation time as the CLI wrote it, without fractions of a second."""

    @property
    def is_local(self) -> bool:
        """Whether the lock was created on this computer, so that its process can be checked."""
        return self.host == socket.gethostname()

    @property
    def is_active(self) -> bool:
        """Whether the run that holds the lock is still active on this computer."""
        return self.is_local and psutil.pid_exists(self.pid) and _is_engine(self.pid)


@dataclass(frozen=True)
class BrokenState:
    """A half-written state: the CLI does not wait until the disk has it
    (pulumi pkg/backend/diy/state.go ``saveCheckpoint``)."""

    path: Path
    copy: Path | None
    """The newest complete copy, which the CLI made before a change or after an update."""

    @property
    def aside(self) -> Path:
        """Where the half-written file is kept."""
        return self.path.with_suffix(".json.broken")

    @property
    def sentence(self) -> str:
        """What is wrong, and what ``repair`` does."""
        broken = f"{self.path.name} is half-written, so the state cannot be read"
        if self.copy is None:
            return (
                f"{broken}, and there is no copy of it: move it to {self.aside.name}. The state is "
                "lost then"
            )
        since = datetime.fromtimestamp(self.copy.stat().st_mtime).strftime("%Y-%m-%d %H:%M:%S")
        return (
            f"{broken}: use its copy {self.copy.name} of {since}, and keep the half-written file "
            f"as {self.aside.name}"
        )

    def repair(self) -> None:
        """Move the file aside, and use the copy. Raises ``OSError``."""
        content = self.copy.read_bytes() if self.copy else None
        self.path.replace(self.aside)
        if content is not None:
            write_private_file(self.path, content)


@dataclass(frozen=True)
class StaleRuns:
    """Processes, locks and files of runs of the stack. False if there are none."""

    providers: tuple[psutil.Process, ...] = ()
    """Provider processes whose engine has ended."""
    locks: tuple[Lock, ...] = ()
    """Locks of the stack, including the lock of an active run."""
    broken_files: tuple[Path, ...] = ()
    """Half-written ``.attrs`` files, which make the state unreadable."""
    broken_state: BrokenState | None = None

    def __bool__(self) -> bool:
        return bool(self.providers or self.locks or self.broken_files or self.broken_state)

    @property
    def active_lock(self) -> Lock | None:
        """The lock of a run that is still active on this computer."""
        return next((lock for lock in self.locks if lock.is_active), None)

    @property
    def foreign_locks(self) -> tuple[Lock, ...]:
        """Locks of other computers, whose processes cannot be checked from here."""
        return tuple(lock for lock in self.locks if not lock.is_local)

    def sentences(self) -> Iterator[str]:
        """Describe what was found and how ``clear`` removes it, one line each."""
        for process in self.providers:
            yield f"provider {_plugin(process)} (process {process.pid}) has no engine: end it"
        for lock in self.locks:
            where = "" if lock.is_local else f" on {lock.host}, where it may still be running"
            yield f"lock of process {lock.pid} of {lock.user}{where}, since {lock.since}: remove it"
        for path in self.broken_files:
            yield f"{path.name} is half-written, so the state cannot be read: remove it"
        if self.broken_state:
            yield self.broken_state.sentence

    def clear(self) -> None:
        """End the processes and remove files and locks. Locks last, so that no other run starts."""
        for process in self.providers:
            _end(process)
        for path in self.broken_files:
            path.unlink(missing_ok=True)
        if self.broken_state:
            self.broken_state.repair()
        for lock in self.locks:
            lock.path.unlink(missing_ok=True)


def find_stale_runs(folder: Path, stack: str) -> StaleRuns:
    """Find what runs of ``stack`` left; ``folder`` is the project folder.

    Locks and files are found only if the backend is a local folder (``file://``).
    """
    state = _state_folder(folder)
    if state is None:
        return StaleRuns(providers=tuple(_orphaned_providers(folder)))
    locks = state / "locks" / "organization" / PROJECT / stack
    attributes = (state / "stacks" / PROJECT).glob(f"{stack}.json*.attrs")
    return StaleRuns(
        providers=tuple(_orphaned_providers(folder)),
        locks=tuple(map(_read_lock, sorted(locks.glob("*.json")))),
        broken_files=tuple(path for path in sorted(attributes) if _read_json(path) is None),
        broken_state=_find_broken_state(state, stack),
    )


def _find_broken_state(state: Path, stack: str) -> BrokenState | None:
    path = state / "stacks" / PROJECT / f"{stack}.json"
    if not path.exists() or _read_json(path) is not None:
        return None
    backups = (state / "backups" / PROJECT / stack).glob(f"{stack}.*.json")
    newest_first = sorted(backups, key=lambda it: it.stat().st_mtime, reverse=True)
    copies = (path.with_suffix(".json.bak"), *newest_first)
    return BrokenState(path, next((it for it in copies if _read_json(it) is not None), None))


def _state_folder(folder: Path) -> Path | None:
    """Return the ``.pulumi`` folder of a ``file://`` backend; ``None`` for any other backend."""
    project = yaml.safe_load((folder / "Pulumi.yaml").read_text(encoding="utf-8"))
    url = os.environ.get("PULUMI_BACKEND_URL") or project["backend"]["url"]
    scheme, _, rest = url.partition("://")
    if scheme != "file":
        return None
    return folder / Path(rest.partition("?")[0]).expanduser() / ".pulumi"


def _orphaned_providers(folder: Path) -> Iterator[psutil.Process]:
    """Yield provider and language host processes of this project whose engine has ended."""
    for process in psutil.process_iter():
        try:
            if _plugin(process) and Path(process.cwd()) == folder and not _has_engine(process):
                yield process
        except (psutil.Error, OSError):
            continue  # the process has ended, or belongs to another user


def _plugin(process: psutil.Process) -> str:
    """Return the name of a provider or language host; empty for other processes."""
    names = [Path(argument).name for argument in process.cmdline()[:4]]
    return next((n for n in names if n.startswith(_PLUGINS) or n == _DYNAMIC), "")


def _has_engine(process: psutil.Process) -> bool:
    return any(_is_engine(parent.pid) for parent in process.parents())


def _is_engine(pid: int) -> bool:
    """Tell whether a process is the Pulumi CLI, which NixOS names ``.pulumi-wrapped``."""
    try:
        name = psutil.Process(pid).name().removeprefix(".")
        return not name.startswith(_STARTED_BY_ENGINE) and re.split("[-.]", name)[0] == "pulumi"
    except psutil.Error:
        return False


def _end(process: psutil.Process) -> None:
    """End a process with SIGTERM, then SIGKILL."""
    try:
        process.terminate()
        process.wait(TERMINATE_TIMEOUT_S)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.NoSuchProcess:
        pass  # it ended together with another process


def _read_lock(path: Path) -> Lock:
    content = _read_json(path)
    if content is None:  # half-written, by a run that was killed on this computer
        return Lock(path, 0, socket.gethostname(), "an unknown user", "an unknown time")
    return Lock(
        path,
        int(content.get("pid", 0)),
        str(content.get("hostname", "")),
        str(content.get("username", "")),
        str(content.get("timestamp", "")).partition(".")[0],
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object from a file; ``None`` if the file is empty or incomplete."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
