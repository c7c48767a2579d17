"""Finds resources of a stack on Proxmox that are not in the Pulumi state.

A killed run or a lost API response leaves such resources, and ``pulumi destroy`` does not know
them. They are recognized by the MAC address of a VM, the comment of a pool, or the name
prefix of an image; all contain the stack tag ``ephemeral-castle-STACK``.
"""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError, wait_for_task
from clients.proxmox.guests import (
    Guest,
    Ownership,
    list_guests,
    ownership,
    partly_created,
    partly_created_fix,
    pool_comment,
)
from settings.groups import Endpoint

ANSWER_TIMEOUT_S = 60
"""Time for one answer of Proxmox, which waits ten seconds for each unreachable storage."""
TASK_TIMEOUT_S = 300
"""Time for one Proxmox task, such as deleting a VM."""


@dataclass(frozen=True)
class OrphanedResource:
    """A resource of the stack that is not in the Pulumi state."""

    sentence: str
    """Kind, name and host, as the object of a sentence: "the pool castle"."""
    remove: Callable[[], None]
    """Removes it; raises ``OperationError``."""


def find_orphans(
    proxmox: Endpoint, stack_tag: str, planned_ids: Container[int] = ()
) -> list[OrphanedResource]:
    """Find all VMs, pools and images of ``stack_tag``, in an order in which they can be removed.

    Nothing identifies a VM that Proxmox has only partly created, so one with a VM id in
    ``planned_ids`` is found, too. Its removal raises ``OperationError`` with the fix.

    Prints which storages are skipped because Proxmox cannot reach them. Raises ``ProxmoxError``.
    """
    call = proxmox_api.caller(proxmox, ANSWER_TIMEOUT_S)
    return [
        *_vms(proxmox, call, stack_tag, planned_ids=planned_ids),
        *_pools(call, stack_tag),
        *_images(call, stack_tag),
    ]


def find_vms(
    proxmox: Endpoint, stack_tag: str, known_ids: Container[int]
) -> list[OrphanedResource]:
    """Find the VMs of ``stack_tag`` whose id is not in ``known_ids``.

    Raises ``ProxmoxError``.
    """
    call = proxmox_api.caller(proxmox, ANSWER_TIMEOUT_S)
    return list(_vms(proxmox, call, stack_tag, known_ids))


def find_pools(proxmox: Endpoint, stack_tag: str) -> list[OrphanedResource]:
    """Find the pools of ``stack_tag``. Raises ``ProxmoxError``."""
    return list(_pools(proxmox_api.caller(proxmox, ANSWER_TIMEOUT_S), stack_tag))


def _vms(
    proxmox: Endpoint,
    call: Callable[..., Any],
    stack_tag: str,
    known_ids: Container[int] = (),
    planned_ids: Container[int] = (),
) -> Iterator[OrphanedResource]:
    for guest in list_guests(proxmox):
        if guest.vm_id in planned_ids and guest.is_partly_created:
            yield OrphanedResource(
                f"VM {guest.vm_id} on {guest.host}, which is only partly created",
                functools.partial(_refuse_partly_created, guest),
            )
        owner = ownership(guest, stack_tag, in_state=False)
        if owner is not Ownership.STACK or guest.vm_id in known_ids:
            continue
        path = f"/nodes/{guest.host}/qemu/{guest.vm_id}"
        yield OrphanedResource(
            f"VM {guest.vm_id} ({f'{guest.name} on {guest.host}'.strip()}) with its disks",
            _remover(
                call,
                f"VM {guest.vm_id}",
                [
                    ("POST", f"{path}/status/stop"),
                    ("DELETE", f"{path}?purge=1&destroy-unreferenced-disks=1"),
                ],
            ),
        )


def _pools(call: Callable[..., Any], stack_tag: str) -> Iterator[OrphanedResource]:
    for pool in call("/pools"):
        if pool.get("comment") == pool_comment(stack_tag):
            name = pool["poolid"]
            path = f"/pools?{urllib.parse.urlencode({'poolid': name})}"
            yield OrphanedResource(
                f"the pool {name}", _remover(call, f"pool {name}", [("DELETE", path)])
            )


def _images(call: Callable[..., Any], stack_tag: str) -> Iterator[OrphanedResource]:
    shared: set[str] = set()
    for host in call("/nodes"):
        if host.get("status") != "online":
            continue
        for storage in call(f"/nodes/{host['node']}/storage?content=import&enabled=1"):
            if not storage.get("active", 1):
                print(
                    f"Proxmox does not reach the storage {storage['storage']} on {host['node']}: "
                    "images on it were not searched.",
                    flush=True,
                )
                continue
            path = f"/nodes/{host['node']}/storage/{storage['storage']}/content"
            for file in call(f"{path}?content=import"):
                volume = file["volid"]
                if volume in shared:
                    continue  # already listed on another host
                if storage.get("shared"):
                    shared.add(volume)
                if volume.partition(":")[2].startswith(f"import/{stack_tag}-talos-"):
                    yield OrphanedResource(
                        f"the image {volume} on {host['node']}",
                        _remover(
                            call,
                            volume,
                            [("DELETE", f"{path}/{urllib.parse.quote(volume, safe=':')}")],
                        ),
                    )


def _refuse_partly_created(guest: Guest) -> None:
    raise OperationError(
        f"{partly_created(guest)}, so it could not be removed. It may belong to this stack: "
        f"{partly_created_fix(guest)}. Then run the command again."
    )


def _remover(
    call: Callable[..., Any], subject: str, steps: list[tuple[str, str]]
) -> Callable[[], None]:
    def remove() -> None:
        for method, path in steps:
            try:
                answer = call(path, method)
                is_task = isinstance(answer, str) and answer.startswith("UPID:")
                failure = wait_for_task(call, answer, TASK_TIMEOUT_S) if is_task else ""
            except ProxmoxError as error:
                failure = error.detail
            if failure:
                raise OperationError(
                    f"{subject} could not be removed: {failure}. Correct the cause, then run the "
                    "command again."
                )

    return remove
