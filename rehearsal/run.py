"""One rehearsal: the program run from its first line to its last, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import json
import logging
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pulumi
from pulumi.runtime import mocks
from pulumi.runtime import settings as runtime
from pulumi.runtime import stack as runtime_stack

from clients.proxmox.guests import Guest
from lifecycle.node import MachineState
from preflight.sources import CURRENT, Sources
from rehearsal import rules, timeline
from rehearsal.monitor import RecordingMonitor
from rehearsal.record import Recording
from settings import resource_types, stack_file
from settings.groups import PROJECT
from settings.models import Settings
from settings.node import Node
from settings.project import PROJECT_FOLDER


@dataclass(kw_only=True)
class Rehearsal:
    """What a rehearsal found."""

    stack: str
    settings: Settings
    recording: Recording
    problems: list[rules.Finding]
    notes: list[str]
    """What the program itself warned of."""


class ConnectionRefused(AssertionError):
    """Something tried to reach the network."""


def rehearse(
    stack: str,
    folder: Path = PROJECT_FOLDER,
    *,
    preview: bool = False,
    state: Mapping[str, Any] = MappingProxyType({}),
) -> Rehearsal:
    """Run the program for a stack whose file lies in ``folder``.

    ``preview`` answers as in a first preview, where nothing computed is known. ``state`` is what
    the program finds in its state (``Recording.state``); by default the stack was never deployed.
    Raises ``SettingsError`` if the settings are wrong, or if what runs cannot become what they say.
    """
    file = stack_file.read(stack, folder)
    program: dict[str, Any] = {}

    def body() -> None:
        CURRENT.set(_sources(state))
        program.update(runpy.run_path(str(PROJECT_FOLDER / "__main__.py"), run_name="__main__"))

    monitor = RecordingMonitor(PROJECT, stack, preview, state)
    try:
        notes = perform(body, monitor, file)
    except AttributeError:
        # What nobody could answer has no attributes; that it was asked is the problem to tell.
        if not monitor.unanswered or "settings" not in program:
            raise
        notes = []
    finally:
        gc.enable()  # the program, which is a process of its own otherwise, does without
    timeline.lay_out(monitor.recording)
    problems = [rules.Finding("known answers", PROJECT, text, "") for text in monitor.unanswered]
    if not preview:
        problems += rules.findings(monitor.recording)
    return Rehearsal(
        stack=stack,
        settings=program["settings"],
        recording=monitor.recording,
        problems=problems,
        notes=notes,
    )


def _sources(state: Mapping[str, Any]) -> Sources:
    """What a rehearsal has in the place of Proxmox, the cluster and what is encrypted."""
    return Sources(
        # Proxmox as on the first day: no guest has any VM id.
        list_guests=lambda *_: [],
        look_at_machines=_seen_as_in(state),
        # A placeholder for its key opens no snapshot, and a living castle's may be gone.
        plan_restore=lambda _: None,
        # Placeholders stand for it already.
        decrypt_settings=lambda *_: {},
        # Nor can what is kept be opened with one.
        read_certificates=_nothing_kept,
        # There is no cluster to ask how Flux is.
        flux_health=lambda _: {},
    )


def _seen_as_in(state: Mapping[str, Any]) -> Callable[..., dict[str, MachineState]]:
    """What is seen of machines without asking any: those of the state are as they should be."""
    known = {
        it["outputs"].get("name") for it in state.values() if it["type"] == resource_types.MACHINE
    }

    def seen(_: Iterable[Guest], nodes: Sequence[Node]) -> dict[str, MachineState]:
        return {node.name: "" if node.name in known else "gone" for node in nodes}

    return seen


def _nothing_kept(settings: Settings) -> dict[str, str] | None:
    """The first castle of a stack: it keeps its certificates if it has a key, and has none yet."""
    return None if settings.sops.age_key is None else {}


def perform(
    body: Callable[[], None], monitor: RecordingMonitor, file: stack_file.StackFile
) -> list[str]:
    """Run ``body`` as the engine runs a program, and wait for everything that it began.

    ``monitor`` keeps all that is asked. Returns what was logged for the user.
    """
    notes = _Notes()

    def run() -> None:
        with _engine(file, notes, monitor), offline():
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(runtime_stack.run_in_stack(body))
            finally:
                asyncio.set_event_loop(None)
                loop.close()

    # The SDK keeps its engine and configuration in context variables: a context of our own takes
    # them along when it goes.
    contextvars.copy_context().run(run)
    return notes.lines


class _Hooks:
    """Accepts hooks in the engine's place. The engine runs them, and there is none."""

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        """Accept a hook that is never run."""


@contextlib.contextmanager
def _engine(file: stack_file.StackFile, notes: _Notes, monitor: RecordingMonitor) -> Iterator[None]:
    """The engine's place in this process: its configuration, and the monitor that answers."""
    logger = logging.Logger("rehearsal")
    logger.addHandler(notes)
    with _environment("PULUMI_CONFIG", json.dumps(file.config)):
        pulumi.runtime.set_all_config(file.config, file.secret_keys)
        runtime.set_root_resource(None)  # type: ignore[arg-type]  # of the run before
        # As `set_mocks` does, less the root stack that it makes: `run_in_stack` makes the real one,
        # whose outputs we want.
        features = monitor.GetDeploymentInfo(None)  # type: ignore[no-untyped-call]
        runtime.configure(
            mocks.MockSettings(  # type: ignore[no-untyped-call]
                monitor=monitor,
                monitor_features=set(features.supportedFeatures),
                engine=mocks.MockEngine(logger),
                project=monitor.project,
                stack=monitor.stack,
                dry_run=monitor.preview,
                organization=None,
                callbacks=_Hooks(),
            )
        )
        yield


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, for as long as the context lasts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Notes(logging.Handler):
    """Keeps what the program logs for its user."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No connection leaves this process, whatever the program tries."""
    global _closed
    _install_guard()
    with _lock:
        _closed += 1
    try:
        yield
    finally:
        with _lock:
            _closed -= 1


_lock = threading.Lock()
_closed = 0
"""How many contexts of ``offline`` are open."""
_CONNECTS = frozenset(
    {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.sendmsg",
        "socket.sendto",
    }
)
"""Python's events (docs.python.org, "Audit events table") for what leaves this process."""


@functools.cache
def _install_guard() -> None:
    """Install the guard, once: Python calls it before these events, and never removes it."""

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if _closed and event in _CONNECTS:
            raise ConnectionRefused(f"the rehearsal opens no connection, but was asked for {args}")

    sys.addaudithook(refuse)
