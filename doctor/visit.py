"""One visit: read the settings, look at everything, tell it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

from rich.console import Console

from clients.kubernetes.longhorn import Storage
from doctor import examine, show, stack
from doctor.context import Context
from doctor.findings import CannotTellError, Result
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from doctor.storage import read_once
from settings.models import Settings
from settings.running import RunningMachine, RunningStack

WIDTH = 110
"""Columns where the output is no terminal."""


def visit(
    name: str,
    folder: Path,
    *,
    cli: Path | None,
    open_token: Callable[[], str],
    ends: Callable[[], Mapping[str, datetime]],
    read_storage: Callable[[], Storage | None],
    as_json: bool = False,
    brief: bool = False,
) -> int:
    """Look at everything for the stack of this name, and tell it on standard output.

    ``cli`` is the Pulumi CLI, none where there is none yet; ``open_token`` decrypts the API token
    (``stack.read``); ``ends`` tells when certificates end; ``read_storage`` reads Longhorn's
    objects in the running cluster (``Context.storage``); ``brief`` leaves out what is well.
    Returns 0 where nothing fails, else 1. Raises ``SettingsError``.
    """
    settings, advice = stack.read(name, folder, open_token)
    probes = Probes.of(settings, cli)
    proxmox = Proxmox(probes.proxmox, settings.stack_tag)
    context = Context(
        settings=_beside_machines(settings, proxmox),
        advice=advice,
        probes=probes,
        proxmox=proxmox,
        ends=ends,
        storage=read_once(read_storage),
    )
    progress = Console(stderr=True)
    status = progress.status("Looking around ...") if progress.is_terminal else None
    with status or nullcontext():
        examined = examine.examine(
            context,
            lambda waiting: status.update(f"Looking at: {', '.join(waiting)}") if status else None,
        )
    if as_json:
        print(json.dumps(show.as_json(name, examined), indent=2))
    else:
        width = None if sys.stdout.isatty() else WIDTH
        console = Console(highlight=False, markup=False, soft_wrap=False, width=width)
        show.show(examined, console, brief=brief)
    return 1 if examine.worst(examined) is Result.FAILURE else 0


def _beside_machines(settings: Settings, proxmox: Proxmox) -> Settings:
    """The settings, with each machine that exists on the host that it is on.

    If Proxmox does not answer, which a check reports, all hosts are planned ones.
    """
    try:
        hosts = proxmox.hosts_of_machines()
    except CannotTellError:
        return settings
    machines = {name: RunningMachine(name=name, host=host) for name, host in hosts.items()}
    return settings.with_running(RunningStack(machines=machines))
