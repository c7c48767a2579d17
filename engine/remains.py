"""What bears a castle's mark on Proxmox though the engine no longer knows it.

A provider that outlived its engine, or an answer that was lost, makes what no state has: a
``destroy`` cannot take it away, and says nothing. The mark is the castle's own: the tag of its
machines, the comment of its pool, the beginning of its images' names.
"""

from __future__ import annotations

import urllib.error
import urllib.parse
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import proxmox_api
import survey
from settings.models import Endpoint

TASK_LIMIT = 300
"""Seconds that Proxmox may work at one thing."""
FAILURES = proxmox_api.FAILURES


class RemainsError(Exception):
    """Proxmox could not be asked, or refused: what, and why."""


@dataclass(frozen=True)
class Remain:
    """Something of the castle."""

    sentence: str
    """What it is and where."""
    remove: Callable[[], None]
    """Removes it; raises ``RemainsError``."""


def look(proxmox: Endpoint, owner: str) -> list[Remain]:
    """Everything that bears ``owner``'s mark, in the order in which it can go.

    Raises ``RemainsError``.
    """
    call = proxmox_api.caller(proxmox)
    with _told():
        return [*_machines(proxmox, call, owner), *_pools(call, owner), *_images(call, owner)]


def machines(proxmox: Endpoint, owner: str, known: Container[int]) -> list[Remain]:
    """The machines that bear ``owner``'s mark, but for the ``known`` VM ids.

    Raises ``RemainsError``.
    """
    with _told():
        return list(_machines(proxmox, proxmox_api.caller(proxmox), owner, known))


def pools(proxmox: Endpoint, owner: str) -> list[Remain]:
    """The pools that bear ``owner``'s mark. Raises ``RemainsError``."""
    with _told():
        return list(_pools(proxmox_api.caller(proxmox), owner))


@contextmanager
def _told() -> Iterator[None]:
    """Say in a sentence why Proxmox could not be asked."""
    try:
        yield
    except survey.SurveyError as error:
        raise RemainsError(str(error)) from None
    except FAILURES as error:
        raise RemainsError(f"Proxmox does not say what it has: {_reason(error)}") from None


def _machines(
    proxmox: Endpoint, call: Callable[..., Any], owner: str, known: Container[int] = ()
) -> Iterator[Remain]:
    for guest in survey.list_guests(proxmox):
        if owner in guest.tags and guest.kind == "qemu" and guest.vm_id not in known:
            path = f"/nodes/{guest.host}/qemu/{guest.vm_id}"
            yield Remain(
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


def _pools(call: Callable[..., Any], owner: str) -> Iterator[Remain]:
    for pool in call("/pools"):
        if pool.get("comment") == f"Machines of {owner}":
            name = pool["poolid"]
            path = f"/pools?{urllib.parse.urlencode({'poolid': name})}"
            yield Remain(f"the pool {name}", _remover(call, f"pool {name}", [("DELETE", path)]))


def _images(call: Callable[..., Any], owner: str) -> Iterator[Remain]:
    for host in call("/nodes"):
        if host.get("status") != "online":
            continue
        for storage in call(f"/nodes/{host['node']}/storage?content=import"):
            path = f"/nodes/{host['node']}/storage/{storage['storage']}/content"
            for file in call(f"{path}?content=import"):
                volume = file["volid"]
                if volume.partition(":")[2].startswith(f"import/{owner}-talos-"):
                    yield Remain(
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
            except FAILURES as error:
                raise RemainsError(f"{subject} is still there: {_reason(error)}") from None

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
