"""Run the doctor for a stack: read the settings, run all checks, print the findings."""

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
from doctor.findings import CannotCheckError, Result
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from doctor.storage import read_once
from settings.models import Settings
from settings.running import RunningMachine, RunningStack

WIDTH = 110
"""Width of the output in columns if it is not a terminal."""


def run_checks(
    name: str,
    folder: Path,
    *,
    cli: Path | None,
    open_token: Callable[[], str],
    read_certificate_ends: Callable[[], Mapping[str, datetime]],
    read_storage: Callable[[], Storage | None],
    as_json: bool = False,
    brief: bool = False,
) -> int:
    """Run all checks for the stack ``name``, and print the findings on standard output.

    ``cli`` is the path of the Pulumi CLI, or None if it is not installed yet. ``open_token``
    decrypts the API token (``stack.read``). ``read_certificate_ends`` and ``read_storage`` become
    ``certificate_ends`` and ``storage`` of the ``Context``. ``brief`` prints only warnings and
    failures. Returns 1 if there is a failure, else 0. Raises ``SettingsError``.
    """
    settings, advice = stack.read(name, folder, open_token)
    probes = Probes.of(settings, cli)
    proxmox = Proxmox(probes.proxmox, settings.stack_tag)
    context = Context(
        settings=_with_actual_hosts(settings, proxmox),
        advice=advice,
        probes=probes,
        proxmox=proxmox,
        certificate_ends=read_certificate_ends,
        storage=read_once(read_storage),
    )
    progress = Console(stderr=True)
    status = progress.status("Checking ...") if progress.is_terminal else None
    with status or nullcontext():
        checks = examine.collect_findings(
            context,
            lambda running: status.update(f"Checking: {', '.join(running)}") if status else None,
        )
    if as_json:
        print(json.dumps(show.as_json(name, checks), indent=2))
    else:
        width = None if sys.stdout.isatty() else WIDTH
        console = Console(highlight=False, markup=False, soft_wrap=False, width=width)
        show.show(checks, console, brief=brief)
    return 1 if examine.worst_result(checks) is Result.FAILURE else 0


def _with_actual_hosts(settings: Settings, proxmox: Proxmox) -> Settings:
    """The settings, in which each existing VM has the host that it is on now.

    If Proxmox does not answer, each VM has its planned host. Another check reports the error.
    """
    try:
        hosts = proxmox.hosts_of_vms()
    except CannotCheckError:
        return settings
    machines = {name: RunningMachine(name=name, host=host) for name, host in hosts.items()}
    return settings.with_running(RunningStack(machines=machines))
