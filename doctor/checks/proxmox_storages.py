"""Check of both storages: they exist, allow the content types, and have free space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doctor.context import Context
from doctor.findings import Finding, failure, gib, note, ok, warning
from lifecycle.retained_disk import name_of

GIB = 1024**3
MAX_IMAGE_SIZE = GIB
"""Upper limit of a Talos image in bytes. The qcow2 file of v1.13.9 has some hundred MiB."""
THIN = frozenset({"lvmthin", "dir", "btrfs", "nfs", "cifs", "cephfs", "rbd", "zfspool"})
"""Storage types (pve-storage plugins) that can be thin: a disk uses space only for data written to
it. A ``zfspool`` is thin only with ``sparse``, which the API does not report."""
NEARLY_FULL = 0.9
"""A thin storage with more disks than space is a warning if more than this share is in use."""
FREE_SPACE = (
    "delete disks or snapshots that nobody needs, or add a physical disk to the storage before it "
    "is full"
)

_FILES = {"dir", "btrfs", "nfs", "cifs"}
SUPPORTED = {
    "import": frozenset({*_FILES, "cephfs"}),
    "images": frozenset({*_FILES, "lvm", "lvmthin", "zfspool", "rbd", "zfs", "glusterfs"}),
}
"""The storage types that can have a content type (pve-storage plugins, ``plugindata``)."""


@dataclass(frozen=True)
class _Purpose:
    """A storage that the stack uses for images or for disks."""

    name: str
    """The name of the storage on Proxmox."""
    setting: str
    """The path of the setting that names the storage."""
    content: str
    """The content type that the storage must have."""


def check_storages(context: Context) -> Iterator[Finding]:
    """Check both storages on each host."""
    proxmox = context.settings.proxmox
    purposes = (
        _Purpose(proxmox.image_datastore, "proxmox.image_datastore", "import"),
        _Purpose(proxmox.disk_datastore, "proxmox.disk_datastore", "images"),
    )
    checked_shared: set[str] = set()
    for host in context.online_hosts():
        entries = context.proxmox.read(f"/nodes/{host}/storage")
        by_name = {entry["storage"]: entry for entry in entries}
        for purpose in purposes:
            found = [*_check_content(purpose, host, by_name)]
            entry = by_name.get(purpose.name, {})
            # The free space of a shared storage is the same on each host: check it once.
            is_shared = bool(int(entry.get("shared") or 0))
            if not found and purpose.name + purpose.content not in checked_shared:
                found = [*_check_space(context, purpose, None if is_shared else host, entry)]
                if is_shared:
                    checked_shared.add(purpose.name + purpose.content)
            yield from found


def _check_content(
    purpose: _Purpose, host: str, entries: dict[str, dict[str, Any]]
) -> Iterator[Finding]:
    name = purpose.name
    entry = entries.get(name)
    if entry is None:
        fit = [n for n, e in sorted(entries.items()) if purpose.content in _contents(e)]
        fix = (
            f"choose another {purpose.setting}; storages of {host} with content type "
            f"`{purpose.content}`: {', '.join(fit) or 'none'}"
        )
        yield failure(name, f"is not a storage of {host} that the token may see", fix)
    elif purpose.content not in _contents(entry):
        contents = ",".join([*_contents(entry), purpose.content])
        fix = f"run in a shell of {host}: pvesm set {name} --content {contents}"
        if entry.get("type") not in SUPPORTED[purpose.content]:
            fix = (
                f"choose another {purpose.setting}: a storage of type {entry.get('type')} cannot "
                "have this content type"
            )
        yield failure(
            name,
            f"on {host} does not allow content type `{purpose.content}` ({purpose.setting})",
            fix,
        )
    elif not int(entry.get("active") or 0):
        fix = f"find the reason in a shell of {host}: pvesm status"
        yield failure(name, f"is not active on {host}", fix)


def _contents(entry: dict[str, Any]) -> list[str]:
    return [content for content in str(entry.get("content", "")).split(",") if content]


def _check_space(
    context: Context, purpose: _Purpose, host: str | None, entry: dict[str, Any]
) -> Iterator[Finding]:
    """Compare the free space with the need of the VMs on ``host``, or on all hosts if it is None.

    ``entry`` is the storage as the API returns it.
    """
    free, total = int(entry["avail"]), int(entry["total"])
    place = f"on {host}" if host else "(shared by all hosts)"
    fix = f"free space on the storage, or choose another {purpose.setting}"
    if purpose.content == "import":
        hosts = [host] if host else list(context.online_hosts())
        needed = MAX_IMAGE_SIZE * _missing_images(context, purpose.name, hosts)
        if free < needed:
            text = f"{place} has {gib(free)} free, and Talos images may need {gib(needed)}"
            yield failure(purpose.name, text, fix)
        else:
            yield ok(purpose.name, f"{place} allows images, and has {gib(free)} free")
        return
    needed = _growth(context, purpose.name, host)
    text = f"{place} has {gib(free)} free, and the disks of the VMs may grow by {gib(needed)}"
    if needed <= free:
        yield ok(purpose.name, text)
        if entry.get("type") in THIN:
            yield from _promised_space(context, purpose.name, host, entry, needed)
    elif entry.get("type") in THIN and needed <= total:
        yield warning(
            purpose.name,
            f"{text}: the disks fit only while they are not full",
            f"{fix}, or lower data_disk_gib",
        )
    else:
        yield failure(purpose.name, text, f"{fix}, or lower data_disk_gib")


def _promised_space(
    context: Context, storage: str, host: str | None, entry: dict[str, Any], needed: int
) -> Iterator[Finding]:
    """Compare the size of a thin storage with the nominal size of all its disks.

    ``needed`` is the growth of the stack's disks in bytes. A thin storage that is full damages the
    filesystems of all guests on it.
    """
    reader = host or next(iter(context.online_hosts()))
    volumes = context.proxmox.read(f"/nodes/{reader}/storage/{storage}/content")
    disks = [it for it in volumes if it.get("content") in ("images", "rootdir")]
    promised = sum(int(it.get("size") or 0) for it in disks) + needed
    used, total = int(entry["used"]), int(entry["total"])
    if promised <= total:
        return
    place = f"on {host}" if host else "(shared by all hosts)"
    text = (
        f"{place} promises more space than it has: {gib(promised)} to the disks of all guests, "
        f"{gib(used)} of {gib(total)} in use"
    )
    if used > total * NEARLY_FULL:
        yield warning(
            storage, f"{text}; if it is full, all guests on it get write errors", FREE_SPACE
        )
    else:
        yield note(storage, text, f"watch its use; {FREE_SPACE}")


def _growth(context: Context, storage: str, host: str | None) -> int:
    """Bytes that the planned disks need in addition to the existing disks on the storage.

    Counts the VMs on ``host``, or on all hosts if it is None.
    """
    vms = {vm.vm_id: vm for vm in context.proxmox.stack_vms()}
    growth = 0
    for node in context.settings.machines:
        if host not in (None, node.host):
            continue
        planned = (node.os_disk_gib + (node.data_disk_gib or 0)) * GIB
        vm = vms.get(node.vm_id)
        is_here = vm is not None and host in (None, vm.host)
        existing = vm.disks.get(storage, 0) if vm and is_here else 0
        if vm is None and name_of(node.name) in context.proxmox.disk_holders():
            # The node's data disk was retained when its VM was deleted. The new VM reuses it.
            existing += (node.data_disk_gib or 0) * GIB
        growth += max(0, planned - existing)
    return growth


def _missing_images(context: Context, storage: str, hosts: list[str]) -> int:
    """The number of hosts without an image. Each host has its own file, also on shared storage.

    ``components/image.py`` sets the names of the files.
    """
    begin = f"{storage}:import/{context.settings.stack_tag}-talos-{context.settings.cluster.talos}-"
    content = context.proxmox.read(f"/nodes/{hosts[0]}/storage/{storage}/content?content=import")
    names = [str(it["volid"]) for it in content if str(it["volid"]).startswith(begin)]
    return sum(not any(name.endswith(f"-{host}.qcow2") for name in names) for host in hosts)
