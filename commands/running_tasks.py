"""Waits for tasks that Proxmox still executes for a killed run.

Proxmox finishes a disk import even if the client is gone. Until then the VM has no name and no tag
(qemu-server PVE/API2/Qemu.pm, ``create_vm``), so the program cannot recognize it as its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import PulumiError, Session
from settings.groups import Endpoint
from settings.problems import SettingsError

TASK_TIMEOUT_S = 600
"""Time to wait for one task: importing an image to slow disks takes minutes."""


def wait(session: Session) -> None:
    """Wait until Proxmox has finished all tasks of the stack's API token, and print their names.

    Does nothing if Proxmox or the settings cannot be read; the next step reports that error.
    """
    with suppress(PulumiError, SettingsError):
        wait_for(stack_settings.settings(session).proxmoxve)


def wait_for(endpoint: Endpoint) -> None:
    """Wait until Proxmox has finished all tasks of the API token of ``endpoint``."""
    call = proxmox_api.caller(endpoint)
    try:
        for task, description in _running(call("/cluster/tasks"), endpoint.token_id):
            print(
                f"Proxmox still runs a task of an earlier run: {description}. Waiting up to "
                f"{TASK_TIMEOUT_S} s.",
                flush=True,
            )
            proxmox_api.wait_for_task(call, task, TASK_TIMEOUT_S)
    except ProxmoxError:
        return


def _running(tasks: list[dict[str, object]], token: str) -> Iterator[tuple[str, str]]:
    """Yield the UPID and a description of each unfinished task of an API token."""
    for task in tasks:
        if f"{task.get('user')}!{task.get('tokenid')}" == token and not task.get("endtime"):
            yield str(task["upid"]), f"{task['type']} {task['id']} on {task['node']}"
