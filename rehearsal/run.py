"""One rehearsal: the program run from its first line to its last, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import os
import runpy
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import pulumi
from pulumi import resource_hooks
from pulumi.runtime import mocks
from pulumi.runtime import settings as runtime
from pulumi.runtime import stack as runtime_stack

from clients.kubernetes import flux_health
from clients.proxmox.guests import Guest
from components.traefik import certificate_backup
from lifecycle.node import MachineState
from preflight import machines
from rehearsal import rules, timeline
from rehearsal.monitor import RecordingMonitor
from rehearsal.record import Recording
from settings import encrypted, resource_types, stack_file
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
        program.update(runpy.run_path(str(PROJECT_FOLDER / "__main__.py"), run_name="__main__"))

    monitor = RecordingMonitor(PROJECT, stack, preview, state)
    with (
        # Proxmox as on the first day: no guest has any VM id.
        mock.patch.object(machines, "list_guests", return_value=[]),
        mock.patch.object(machines, "look_at_machines", _seen_as_in(state)),
        # A placeholder for its key opens no snapshot, and a living castle's may be gone.
        mock.patch.object(machines, "plan", return_value=None),
        # Placeholders stand for it already.
        mock.patch.object(encrypted, "opened", return_value={}),
        # Nor can what is kept be opened with one.
        mock.patch.object(certificate_backup, "opened", _nothing_kept),
        # There is no cluster to ask how Flux is.
        mock.patch.object(flux_health, "look", return_value={}),
    ):
        try:
            notes = perform(body, monitor, file)
        except AttributeError:
            # What nobody could answer has no attributes; that it was asked is the problem to tell.
            if not monitor.unanswered or "settings" not in program:
                raise
            notes = []
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


def _registered(hook: pulumi.ResourceHook) -> asyncio.Future[None]:
    """Accept a hook that is never run."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


@contextlib.contextmanager
def _engine(file: stack_file.StackFile, notes: _Notes, monitor: RecordingMonitor) -> Iterator[None]:
    """The engine's place in this process: its configuration, and the monitor that answers."""
    logger = logging.Logger("rehearsal")
    logger.addHandler(notes)
    with (
        mock.patch.dict(os.environ, {"PULUMI_CONFIG": json.dumps(file.config)}),
        # Hooks are run by the engine, and there is none.
        mock.patch.object(resource_hooks, "register_resource_hook", _registered),
    ):
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
            )
        )
        yield


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

    def refuse(*args: Any) -> None:
        raise ConnectionRefused(f"the rehearsal opens no connection, but was asked for {args}")

    with contextlib.ExitStack() as closed:
        for name in ("connect", "connect_ex", "sendto", "sendmsg"):
            closed.enter_context(mock.patch.object(socket.socket, name, refuse))
        closed.enter_context(mock.patch.object(socket, "getaddrinfo", refuse))
        yield
