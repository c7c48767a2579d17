"""The two storages: there, for the right content, and with room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doctor.context import Context
from doctor.findings import Finding, failure, gib, ok, warning
from lifecycle.retained_disk import name_of

GIB = 1024**3
IMAGE_SIZE = GIB
"""Bytes that a Talos image takes at most; the qcow2 file of v1.13.9 has some hundred MiB."""
THIN = frozenset({"lvmthin", "dir", "btrfs", "nfs", "cifs", "cephfs", "rbd", "zfspool"})
"""Kinds of storage (pve-storage plugins) where a disk may take its space only as it fills. A
``zfspool`` does so where ``sparse`` is set, which the API does not tell."""


@dataclass(frozen=True)
class _Purpose:
    """What a storage is for."""

    name: str
    setting: str
    content: str
    """The content type that it must have."""


def check(context: Context) -> Iterator[Finding]:
    """Each storage on each host."""
    proxmox = context.settings.proxmox
    purposes = (
        _Purpose(proxmox.image_datastore, "proxmox.image_datastore", "import"),
        _Purpose(proxmox.disk_datastore, "proxmox.disk_datastore", "images"),
    )
    shared: set[str] = set()
    for host in context.online_hosts():
        entries = context.proxmox.read(f"/nodes/{host}/storage")
        by_name = {entry["storage"]: entry for entry in entries}
        for purpose in purposes:
            found = [*_usable(purpose, host, by_name)]
            entry = by_name.get(purpose.name, {})
            # A shared storage has its room only once, whichever host is asked.
            everywhere = bool(int(entry.get("shared") or 0))
            if not found and purpose.name + purpose.content not in shared:
                where = None if everywhere else host
                found = [*_room(context, purpose, where, host, entry)]
                if everywhere:
                    shared.add(purpose.name + purpose.content)
            yield from found


def _usable(purpose: _Purpose, host: str, entries: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    name = purpose.name
    entry = entries.get(name)
    if entry is None:
        fit = [n for n, e in sorted(entries.items()) if purpose.content in _contents(e)]
        fix = f"choose another {purpose.setting}; {host} has for it: {', '.join(fit) or 'none'}"
        yield failure(name, f"is not a storage of {host} that the token may see", fix)
    elif purpose.content not in _contents(entry):
        contents = ",".join([*_contents(entry), purpose.content])
        yield failure(
            name,
            f"on {host} is not for content type `{purpose.content}` ({purpose.setting})",
            f"in a shell of the host: pvesm set {name} --content {contents}",
        )
    elif not int(entry.get("active") or 0):
        fix = f"see in a shell of {host} what pvesm status says"
        yield failure(name, f"is not active on {host}", fix)


def _contents(entry: dict[str, Any]) -> list[str]:
    return [content for content in str(entry.get("content", "")).split(",") if content]


def _room(
    context: Context, purpose: _Purpose, where: str | None, host: str, entry: dict[str, Any]
) -> Iterator[Finding]:
    """``where`` is the host whose machines count; none counts all of them."""
    free, total = int(entry["avail"]), int(entry["total"])
    on = f"on {where}" if where else "for all hosts"
    fix = f"make room, or choose another {purpose.setting}"
    if purpose.content == "import":
        hosts = [where] if where else list(context.online_hosts())
        needed = IMAGE_SIZE * _missing_images(context, purpose.name, hosts)
        if free < needed:
            text = f"{on} has {gib(free)} free, and Talos images may take {gib(needed)}"
            yield failure(purpose.name, text, fix)
        else:
            yield ok(purpose.name, f"{on} is for images, {gib(free)} free")
        return
    needed = _growth(context, purpose.name, where)
    text = f"{on} has {gib(free)} free, and the disks of the machines may grow by {gib(needed)}"
    if needed <= free:
        yield ok(purpose.name, text)
    elif entry.get("type") in THIN and needed <= total:
        yield warning(
            purpose.name,
            f"{text}: they fit only as long as they are not full",
            f"{fix}, or lower data_disk_gib",
        )
    else:
        yield failure(purpose.name, text, f"{fix}, or lower data_disk_gib")


def _growth(context: Context, storage: str, where: str | None) -> int:
    """Bytes that our machines want more than they have there already."""
    own = {machine.vm_id: machine for machine in context.proxmox.own_machines()}
    needed = 0
    for node in context.settings.machines:
        if where not in (None, node.host):
            continue
        wanted = (node.os_disk_gib + (node.data_disk_gib or 0)) * GIB
        machine = own.get(node.vm_id)
        here = machine is not None and where in (None, machine.host)
        has = machine.disks.get(storage, 0) if machine and here else 0
        if machine is None and name_of(node.name) in context.proxmox.keepers():
            # Its data disk outlived it, and waits for it.
            has += (node.data_disk_gib or 0) * GIB
        needed += max(0, wanted - has)
    return needed


def _missing_images(context: Context, storage: str, hosts: list[str]) -> int:
    """How many of the hosts have no image yet; each has a file of its own, on a shared storage too.

    Its name is that of ``components/image.py``.
    """
    begin = f"{storage}:import/{context.settings.stack_tag}-talos-{context.settings.cluster.talos}-"
    content = context.proxmox.read(f"/nodes/{hosts[0]}/storage/{storage}/content?content=import")
    names = [str(it["volid"]) for it in content if str(it["volid"]).startswith(begin)]
    return sum(not any(name.endswith(f"-{host}.qcow2") for name in names) for host in hosts)
