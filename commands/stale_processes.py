"""What a run that was killed leaves on this machine; nothing here asks the network.

Providers outlive their engine and finish, unseen, what they were at; a lock keeps everybody out;
and where the state is written with a file of attributes beside it, that file can be half-written
(facts/end-to-end.md 9, and a real run).
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from settings.groups import PROJECT

_PLUGINS = ("pulumi-resource-", "pulumi-language-")
_NO_ENGINES = ("pulumi-resource", "pulumi-language", "pulumi-analyzer")
"""How the names of processes begin that an engine starts; Linux cuts them at 15 characters."""
_DYNAMIC = "pulumi.dynamic"
"""The module that runs dynamic resources: its process bears no other name of Pulumi's."""
PATIENCE = 10
"""Seconds that a provider has to end by itself once it is told to."""


@dataclass(frozen=True)
class Lock:
    """A file that says who works on the stack."""

    path: Path
    pid: int
    host: str
    user: str
    since: str

    @property
    def is_here(self) -> bool:
        """Whether it was made on this machine, so that its maker can be looked for."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether its maker still runs, as far as can be known here."""
        return self.is_here and psutil.pid_exists(self.pid) and _is_engine(self.pid)


@dataclass(frozen=True)
class Leftovers:
    """What was found."""

    providers: tuple[psutil.Process, ...] = ()
    """Providers whose engine is gone."""
    locks: tuple[Lock, ...] = ()
    """Locks of the stack, those of living runs too."""
    broken: tuple[Path, ...] = ()
    """Files of attributes that cannot be read, and with which the state cannot be read."""

    def __bool__(self) -> bool:
        return bool(self.providers or self.locks or self.broken)

    @property
    def running(self) -> Lock | None:
        """A run that is still going on."""
        return next((lock for lock in self.locks if lock.is_alive), None)

    @property
    def elsewhere(self) -> tuple[Lock, ...]:
        """Locks of other machines: whether their makers still run cannot be known here."""
        return tuple(lock for lock in self.locks if not lock.is_here)

    def sentences(self) -> Iterator[str]:
        """What was found and what clearing it away means, a line each."""
        for process in self.providers:
            yield f"the provider {_plugin(process)} (process {process.pid}) lost its engine: end it"
        for lock in self.locks:
            where = "" if lock.is_here else f" on {lock.host}, where it may still be running"
            yield f"a lock of process {lock.pid} of {lock.user}{where}, since {lock.since}: remove"
        for path in self.broken:
            yield f"{path.name} is half-written, so the state cannot be read: remove it"

    def clear(self) -> None:
        """Clear it all away, the locks last: until then nobody else begins."""
        for process in self.providers:
            _end(process)
        for path in self.broken:
            path.unlink(missing_ok=True)
        for lock in self.locks:
            lock.path.unlink(missing_ok=True)


def look(folder: Path, stack: str) -> Leftovers:
    """What killed runs of ``stack`` left; ``folder`` is the project's.

    Locks and files can be seen only where the state lies in a folder of this machine.
    """
    state = _state_folder(folder)
    if state is None:
        return Leftovers(providers=tuple(_abandoned(folder)))
    locks = state / "locks" / "organization" / PROJECT / stack
    attributes = (state / "stacks" / PROJECT).glob(f"{stack}.json*.attrs")
    return Leftovers(
        providers=tuple(_abandoned(folder)),
        locks=tuple(filter(None, map(_lock, sorted(locks.glob("*.json"))))),
        broken=tuple(path for path in sorted(attributes) if _read(path) is None),
    )


def _state_folder(folder: Path) -> Path | None:
    """The engine's folder in a ``file://`` backend; ``None`` for any other backend."""
    project = yaml.safe_load((folder / "Pulumi.yaml").read_text(encoding="utf-8"))
    url = os.environ.get("PULUMI_BACKEND_URL") or project["backend"]["url"]
    scheme, _, rest = url.partition("://")
    if scheme != "file":
        return None
    return folder / Path(rest.partition("?")[0]).expanduser() / ".pulumi"


def _abandoned(folder: Path) -> Iterator[psutil.Process]:
    """Providers and programs of this project whose engine is gone."""
    for process in psutil.process_iter():
        try:
            if _plugin(process) and Path(process.cwd()) == folder and not _has_engine(process):
                yield process
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or somebody else's


def _plugin(process: psutil.Process) -> str:
    """The name of a provider or language host; empty for anything else."""
    names = [Path(argument).name for argument in process.cmdline()[:4]]
    return next((n for n in names if n.startswith(_PLUGINS) or n == _DYNAMIC), "")


def _has_engine(process: psutil.Process) -> bool:
    return any(_is_engine(parent.pid) for parent in process.parents())


def _is_engine(pid: int) -> bool:
    """Whether a process is the CLI, which is called ``.pulumi-wrapped`` on NixOS."""
    try:
        name = psutil.Process(pid).name().removeprefix(".")
        return not name.startswith(_NO_ENGINES) and re.split("[-.]", name)[0] == "pulumi"
    except psutil.Error:
        return False


def _end(process: psutil.Process) -> None:
    """End a process: kindly at first."""
    try:
        process.terminate()
        process.wait(PATIENCE)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.NoSuchProcess:
        pass  # ended with another


def _lock(path: Path) -> Lock | None:
    content = _read(path)
    if content is None:
        return Lock(path, 0, socket.gethostname(), "nobody", "an unknown time")
    return Lock(
        path,
        int(content.get("pid", 0)),
        str(content.get("hostname", "")),
        str(content.get("username", "")),
        str(content.get("timestamp", "")).partition(".")[0],
    )


def _read(path: Path) -> dict[str, Any] | None:
    """What a JSON file holds; ``None`` where it is empty or cut off."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
