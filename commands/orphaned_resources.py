"""What bears a castle's mark on Proxmox though the engine no longer knows it.

A provider that outlived its engine, or an answer that was lost, makes what no state has: a
``destroy`` cannot take it away, and says nothing. The mark is the castle's own: the tag and the MAC
address of its machines, the comment of its pool, the beginning of its images' names.
"""

from __future__ import annotations

import urllib.error
import urllib.parse
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from clients.proxmox import api as proxmox_api
from clients.proxmox.guests import GuestListError, list_guests, mac_address, pool_comment
from settings.groups import Endpoint

ANSWER_LIMIT = 60
"""Seconds that Proxmox has to answer: each storage that is dead makes it wait for ten."""
TASK_LIMIT = 300
"""Seconds that Proxmox may work at one thing."""


class OrphanSearchError(Exception):
    """Proxmox could not be asked, or refused: what, and why."""


@dataclass(frozen=True)
class OrphanedResource:
    """Something of the castle."""

    sentence: str
    """What it is and where."""
    remove: Callable[[], None]
    """Removes it; raises ``OrphanSearchError``."""


def look(proxmox: Endpoint, stack_tag: str) -> list[OrphanedResource]:
    """Everything that bears ``stack_tag``'s mark, in the order in which it can go.

    A storage that Proxmox does not reach is told, and not looked at. Raises ``OrphanSearchError``.
    """
    call = proxmox_api.caller(proxmox, ANSWER_LIMIT)
    with _told():
        return [
            *_machines(proxmox, call, stack_tag),
            *_pools(call, stack_tag),
            *_images(call, stack_tag),
        ]


def machines(proxmox: Endpoint, stack_tag: str, known: Container[int]) -> list[OrphanedResource]:
    """The machines that bear ``stack_tag``'s mark, but for the ``known`` VM ids.

    Raises ``OrphanSearchError``.
    """
    with _told():
        return list(_machines(proxmox, proxmox_api.caller(proxmox, ANSWER_LIMIT), stack_tag, known))


def pools(proxmox: Endpoint, stack_tag: str) -> list[OrphanedResource]:
    """The pools that bear ``stack_tag``'s mark. Raises ``OrphanSearchError``."""
    with _told():
        return list(_pools(proxmox_api.caller(proxmox, ANSWER_LIMIT), stack_tag))


@contextmanager
def _told() -> Iterator[None]:
    """Say in a sentence why Proxmox could not be asked."""
    try:
        yield
    except GuestListError as error:
        raise OrphanSearchError(str(error)) from None
    except proxmox_api.FAILURES as error:
        raise OrphanSearchError(f"Proxmox does not say what it has: {_reason(error)}") from None


def _machines(
    proxmox: Endpoint, call: Callable[..., Any], stack_tag: str, known: Container[int] = ()
) -> Iterator[OrphanedResource]:
    for guest in list_guests(proxmox):
        if stack_tag not in guest.tags or guest.kind != "qemu" or guest.vm_id in known:
            continue
        path = f"/nodes/{guest.host}/qemu/{guest.vm_id}"
        if not _is_ours(call(f"{path}/config"), stack_tag, guest.vm_id):
            continue
        yield OrphanedResource(
            f"the machine {guest.name} (VM {guest.vm_id} on {guest.host}) with its disks",
            _remover(
                call,
                f"VM {guest.vm_id}",
                [
                    ("POST", f"{path}/status/stop"),
                    ("DELETE", f"{path}?purge=1&destroy-unreferenced-disks=1"),
                ],
            ),
        )


def _is_ours(config: Mapping[str, Any], stack_tag: str, vm_id: int) -> bool:
    """Whether a machine was made by the castle: a clone bears its tag, and not its address.

    Nor does a backup that was restored to another id: the address is made of the id. Tag and
    address are written together (proxmox/qemu-server src/PVE/API2/Qemu.pm ``$createfn``), so one
    that is half-made has both or none.
    """
    return mac_address(stack_tag, vm_id) in str(config.get("net0", "")).upper()


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
                where = f"the storage {storage['storage']} on {host['node']}"
                print(f"Proxmox does not reach {where}: it was not looked at.", flush=True)
                continue
            path = f"/nodes/{host['node']}/storage/{storage['storage']}/content"
            for file in call(f"{path}?content=import"):
                volume = file["volid"]
                if volume in shared:
                    continue  # seen on another host
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


def _remover(
    call: Callable[..., Any], subject: str, steps: list[tuple[str, str]]
) -> Callable[[], None]:
    def remove() -> None:
        for method, path in steps:
            try:
                _finish(call, call(path, method))
            except proxmox_api.FAILURES as error:
                raise OrphanSearchError(f"{subject} is still there: {_reason(error)}") from None

    return remove


def _finish(call: Callable[..., Any], answer: Any) -> None:
    """Wait for the task that an answer names, if it names one."""
    if not (isinstance(answer, str) and answer.startswith("UPID:")):
        return
    if failure := proxmox_api.wait_for(call, answer, TASK_LIMIT):
        raise OSError(failure)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"Proxmox answers {error.code} {error.reason}"
    return str(getattr(error, "reason", error))
