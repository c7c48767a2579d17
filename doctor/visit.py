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
from doctor.findings import Result
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from doctor.storage import read_once

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
    context = Context(
        settings=settings,
        advice=advice,
        probes=probes,
        proxmox=Proxmox(probes.proxmox, settings.owner),
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
