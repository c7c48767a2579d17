"""Runs the real ``__main__.py`` once with a mock monitor, and records the resource graph."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import logging
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
from rehearsal import timeline
from rehearsal.monitor import RecordingMonitor
from rehearsal.record import Recording, Refusal
from settings import resource_types, stack_file
from settings.groups import PROJECT
from settings.models import Settings
from settings.node import Node
from settings.project import PROJECT_FOLDER


@dataclass(kw_only=True)
class Rehearsal:
    """The result of one run of the program."""

    stack: str
    settings: Settings
    recording: Recording
    problems: list[Refusal]
    """Requests that the mock providers cannot answer."""
    notes: list[str]
    """Warnings that the program logged."""


class ConnectionRefused(AssertionError):
    """The program tried to open a network connection during a rehearsal."""


def rehearse(
    stack: str,
    folder: Path = PROJECT_FOLDER,
    *,
    preview: bool = False,
    state: Mapping[str, Any] = MappingProxyType({}),
) -> Rehearsal:
    """Run the program for the file ``Pulumi.STACK.yaml`` in ``folder``.

    If ``preview`` is true, computed outputs are unknown, as in the first preview. ``state`` is the
    Pulumi state that the program reads (``Recording.state``); by default it is empty. Raises
    ``SettingsError`` if the settings are wrong, or if the running cluster cannot change to them.
    """
    file = stack_file.read(stack, folder)
    program: dict[str, Any] = {}

    def body() -> None:
        CURRENT.set(_offline_sources(file.config, state))
        program.update(runpy.run_path(str(PROJECT_FOLDER / "__main__.py"), run_name="__main__"))

    monitor = RecordingMonitor(PROJECT, stack, preview, state)
    try:
        notes = perform(body, monitor, file)
    except AttributeError:
        # The program fails on an unanswered request. Report the request instead of the traceback.
        if not monitor.unanswered or "settings" not in program:
            raise
        notes = []
    finally:
        # The program disables garbage collection, because it is usually a process of its own.
        gc.enable()
    timeline.lay_out(monitor.recording)
    return Rehearsal(
        stack=stack,
        settings=program["settings"],
        recording=monitor.recording,
        problems=[Refusal(PROJECT, text) for text in monitor.unanswered],
        notes=notes,
    )


def _offline_sources(config: Mapping[str, str], state: Mapping[str, Any]) -> Sources:
    """Return sources that need no Proxmox, no cluster and no key."""
    return Sources(
        read_config=lambda: config,
        # No guest on Proxmox has any VM id.
        list_guests=lambda *_: [],
        look_at_machines=_machine_states(state),
        # A placeholder key cannot decrypt a snapshot, and the file may be missing.
        plan_restore=lambda _: None,
        # The stack file already has placeholders for these settings.
        decrypt_settings=lambda *_: {},
        # A placeholder key cannot decrypt certificates.
        read_certificates=_no_certificates,
        flux_health=lambda _: {},
    )


def _machine_states(state: Mapping[str, Any]) -> Callable[..., dict[str, MachineState]]:
    """Return a function that reports VMs in the state as unchanged, and all others as gone."""
    known = {
        it["outputs"].get("name") for it in state.values() if it["type"] == resource_types.MACHINE
    }

    def states(_: Iterable[Guest], nodes: Sequence[Node]) -> dict[str, MachineState]:
        return {node.name: "" if node.name in known else "gone" for node in nodes}

    return states


def _no_certificates(settings: Settings) -> dict[str, str] | None:
    """Return an empty backup of certificates, or None if the stack has no age key."""
    return None if settings.sops.age_key is None else {}


def perform(
    body: Callable[[], None], monitor: RecordingMonitor, file: stack_file.StackFile
) -> list[str]:
    """Run ``body`` as a Pulumi program, and wait for everything that it starts.

    ``monitor`` records all requests. Returns the warnings that the program logs. Raises
    ``ConnectionRefused`` if the program opens a network connection.
    """
    notes = _Notes()

    def run() -> None:
        _configure_sdk(file, notes, monitor)
        with offline():
            asyncio.run(runtime_stack.run_in_stack(body))

    # The SDK stores its settings in context variables. The copied context discards them afterwards.
    contextvars.copy_context().run(run)
    return notes.lines


class _Hooks:
    """Accepts resource hooks. Only the real engine runs them."""

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        """Accept a hook and do nothing."""


def _configure_sdk(file: stack_file.StackFile, notes: _Notes, monitor: RecordingMonitor) -> None:
    """Configure the Pulumi SDK in this context with the stack's settings and the mock monitor."""
    logger = logging.Logger("rehearsal")
    logger.addHandler(notes)
    pulumi.runtime.set_all_config(file.config, file.secret_keys)
    runtime.set_root_resource(None)  # type: ignore[arg-type]  # of the previous run
    # Like `set_mocks`, but without its root stack: `run_in_stack` creates the real one, whose
    # outputs are recorded.
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


class _Notes(logging.Handler):
    """Collects the warnings that the program logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Collect one warning."""
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Refuse every network connection of this process. Raises ``ConnectionRefused``."""
    global _open_contexts
    _install_audit_hook()
    with _lock:
        _open_contexts += 1
    try:
        yield
    finally:
        with _lock:
            _open_contexts -= 1


_lock = threading.Lock()
_open_contexts = 0
"""Number of ``offline`` contexts that are open."""
_NETWORK_EVENTS = frozenset(
    {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.sendmsg",
        "socket.sendto",
    }
)
"""Python's audit events for network access (docs.python.org, "Audit events table")."""


@functools.cache
def _install_audit_hook() -> None:
    """Install the audit hook once per process: Python cannot remove audit hooks."""

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if _open_contexts and event in _NETWORK_EVENTS:
            raise ConnectionRefused(f"the rehearsal opens no connection: {event} with {args}")

    sys.addaudithook(refuse)
