"""What Proxmox still does for a run that is gone.

It imports a disk to its end though nobody waits for it any more; until then the machine has neither
name nor tag (qemu-server PVE/API2/Qemu.pm, ``create_vm``): nobody can tell whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from clients.proxmox import api as proxmox_api
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import Session, SessionError
from settings.groups import Endpoint
from settings.problems import SettingsError

LIMIT = 600
"""Seconds that one task has: the import of an image on slow disks takes minutes."""


def wait(session: Session) -> None:
    """Wait until Proxmox is done with all that the castle's token has asked of it.

    Says what it waits for. Where Proxmox cannot be asked, the next step says it better.
    """
    with suppress(SessionError, SettingsError):
        wait_for(stack_settings.settings(session).proxmoxve)


def wait_for(endpoint: Endpoint) -> None:
    """The same, of the token of an ``endpoint``."""
    call = proxmox_api.caller(endpoint)
    try:
        for task, what in _running(call("/cluster/tasks"), endpoint.token_id):
            print(f"Proxmox is still at {what}: waiting for it.", flush=True)
            proxmox_api.wait_for(call, task, LIMIT)
    except proxmox_api.FAILURES:
        return


def _running(tasks: list[dict[str, object]], token: str) -> Iterator[tuple[str, str]]:
    """Name and description of each task of a token that has not ended."""
    for task in tasks:
        if f"{task.get('user')}!{task.get('tokenid')}" == token and not task.get("endtime"):
            yield str(task["upid"]), f"{task['type']} {task['id']} on {task['node']}"
