"""Run the doctor for a stack: read the settings, run all checks, print the findings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from clients.kubernetes.longhorn import Storage
from clients.tls import ClientCredentials
from doctor import output
from doctor.all_checks import collect_findings, worst_result
from doctor.checks.longhorn import read_once
from doctor.context import Context
from doctor.findings import CannotCheckError, Result
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from rehearsal.monitor import RecordingMonitor
from rehearsal.run import perform
from settings import stack_file
from settings.groups import PROJECT, Endpoint
from settings.load import TOKEN, joined
from settings.models import Settings
from settings.problems import Problem, SettingsError
from settings.running import RunningMachine, RunningStack

TOKEN_VARIABLE = "PROXMOX_VE_API_TOKEN"
"""Environment variable with the token if the stack file has none. The provider uses it too."""
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
    read_talos_credentials: Callable[[], ClientCredentials | None],
    as_json: bool = False,
    brief: bool = False,
) -> int:
    """Run all checks for the stack ``name``, and print the findings on standard output.

    ``cli`` is the path of the Pulumi CLI, or None if it is not installed yet. ``open_token``
    decrypts the API token; it is called only if the stack file has an encrypted token and all
    settings are correct. ``read_certificate_ends``, ``read_storage`` and ``read_talos_credentials``
    become ``certificate_ends``, ``storage`` and ``talos_credentials`` of the ``Context``. ``brief``
    prints only warnings and failures. Returns 1 if there is a failure, else 0. Raises
    ``SettingsError``, also if the token is missing or malformed.
    """
    settings, advice = _read_settings(name, folder, open_token)
    probes = Probes.of(settings, cli)
    proxmox = Proxmox(probes.proxmox, settings.stack_tag)
    context = Context(
        settings=_with_actual_hosts(settings, proxmox),
        advice=advice,
        probes=probes,
        proxmox=proxmox,
        certificate_ends=read_certificate_ends,
        storage=read_once(read_storage),
        talos_credentials=read_talos_credentials,
    )
    progress = Console(stderr=True)
    status = progress.status("Checking ...") if progress.is_terminal else None
    with status or nullcontext():
        checks = collect_findings(
            context,
            lambda running: status.update(f"Checking: {', '.join(running)}") if status else None,
        )
    if as_json:
        print(json.dumps(output.as_json(name, checks), indent=2))
    else:
        width = None if sys.stdout.isatty() else WIDTH
        console = Console(highlight=False, markup=False, soft_wrap=False, width=width)
        output.show(checks, console, brief=brief)
    return 1 if worst_result(checks) is Result.FAILURE else 0


def _read_settings(
    stack: str, folder: Path, open_token: Callable[[], str]
) -> tuple[Settings, tuple[str, ...]]:
    """Read ``Pulumi.STACK.yaml`` in ``folder``; return the settings, and warnings about them."""
    file = stack_file.read(stack, folder)
    loaded: list[Settings] = []
    monitor = RecordingMonitor(PROJECT, stack, preview=True)
    # Values that SOPS encrypts have placeholders in `file` here.
    advice = perform(lambda: loaded.append(joined(file.config, {}, stack)), monitor, file)
    (settings,) = loaded
    if TOKEN not in file.secret_keys:
        return settings, tuple(advice)
    token = open_token() if file.has_token else os.environ.get(TOKEN_VARIABLE, "")
    keys = settings.proxmoxve.model_dump(by_alias=True) | {"apiToken": SecretStr(token)}
    try:
        endpoint = Endpoint.model_validate(keys)
    except ValueError:
        found = ("(hidden)", "is not a Proxmox API token") if token else ("missing", "is required")
        fix = "run `make token`, which writes it encrypted into the stack file"
        raise SettingsError([Problem(TOKEN, *found, fix)], stack) from None
    return settings.model_copy(update={"proxmoxve": endpoint}), tuple(advice)


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
