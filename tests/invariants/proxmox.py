"""Invariants of Proxmox and its provider: images and VMs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rehearsal.record import Recording
from settings.resource_types import FILE, MACHINE, SCHEMATIC
from tests.invariants.registry import invariant


@invariant("bpg download_file: refusing to override existing file")
def each_image_has_its_own_file_name(recording: Recording) -> Iterator[tuple[str, str]]:
    """Each image has its own file name: Pulumi creates a new image before it deletes the old one,
    and the provider does not overwrite files."""
    for file in recording.of_type(FILE):
        name, url = str(file.plain("fileName")), str(file.plain("url"))
        parts = re.search(r"/image/([0-9a-f]{64})/(v[\d.]+)/", url)
        if parts is None:
            yield file.name, f"{url} contains no schematic and version"
        elif not all(part in name for part in parts.groups()):
            yield file.name, f"{name} must contain the version and the schematic of {url}"


@invariant("Proxmox VE API download-url: no xz")
def images_are_qcow2(recording: Recording) -> Iterator[tuple[str, str]]:
    """Images are qcow2: Proxmox imports qcow2 and cannot decompress xz."""
    for file in recording.of_type(FILE):
        if file.plain("contentType") != "import":
            yield file.name, "contentType must be import: disks are imported from the file"
        if not str(file.plain("url")).endswith(".qcow2"):
            yield file.name, "Proxmox cannot decompress this format: use the qcow2 image"


@invariant("pulumi: an update in place cannot change the id of a resource")
def schematic_changes_reach_the_image(recording: Recording) -> Iterator[tuple[str, str]]:
    """A changed schematic is replaced. The schematic's id is part of the image's URL, and an update
    in place would keep the old id."""
    for schematic in recording.of_type(SCHEMATIC):
        if "schematic" not in schematic.replace_on_changes:
            yield schematic.name, "needs replace_on_changes=['schematic']"


@invariant("bpg: allocates a VM id if none is given; adopts an existing VM that has the VM id")
def vm_ids_and_mac_addresses_are_fixed(recording: Recording) -> Iterator[tuple[str, str]]:
    """VM ids and MAC addresses are fixed and unique."""
    seen: dict[tuple[str, Any], str] = {}
    for vm in recording.of_type(MACHINE):
        devices = vm.plain("networkDevices", [])
        values = [("vmId", vm.plain("vmId"))]
        values += [("macAddress", device.get("macAddress")) for device in devices]
        for what, value in values:
            if not value:
                yield vm.name, f"has no fixed {what}"
            elif (other := seen.setdefault((what, value), vm.name)) != vm.name:
                yield vm.name, f"has the {what} {value} of {other}"


@invariant("bpg: adds the host's drive if no cdrom is given; Proxmox: q35 has only ide0 and ide2")
def vms_boot_from_their_disk(recording: Recording) -> Iterator[tuple[str, str]]:
    """VMs have an empty CD-ROM drive and a boot order. Otherwise the provider adds the physical
    drive of the host and boots from it."""
    for vm in recording.of_type(MACHINE):
        cdrom = vm.plain("cdrom", {})
        if cdrom.get("fileId") != "none":
            yield (
                vm.name,
                "needs cdrom fileId none: the default is the host's physical drive",
            )
        if not vm.plain("bootOrders"):
            yield vm.name, "needs bootOrders: the default is the CD-ROM drive"
        drives = [cdrom.get("interface", "ide3"), vm.plain("initialization", {})["interface"]]
        if vm.plain("machine") == "q35" and not set(drives) <= {"ide0", "ide2"}:
            yield vm.name, f"q35 has only ide0 and ide2, not {', '.join(drives)}"
        if len(set(drives)) < len(drives):
            yield vm.name, f"two drives on {drives[0]}"


@invariant("muhlba91/pulumi-proxmoxve#664")
def vms_have_no_permanent_diff(recording: Recording) -> Iterator[tuple[str, str]]:
    """VMs ignore changes of the speed of each disk, and of the image.

    The first deployment is an exception: a new image replaces a VM that has never been ready.
    """
    for vm in recording.of_type(MACHINE):
        disks = vm.plain("disks", [])
        wanted = {f"disks[{index}].speed" for index in range(len(disks))}
        wanted |= {f"disks[{i}].importFrom" for i, disk in enumerate(disks) if "importFrom" in disk}
        if "disks" in vm.replace_on_changes:
            wanted = {path for path in wanted if path.endswith("speed")}
        if missing := wanted - set(vm.ignore_changes):
            yield vm.name, f"needs ignore_changes of {', '.join(sorted(missing))}"


@invariant("bpg docs/guides/vm-lifecycle.md")
def vms_are_stopped_on_destroy(recording: Recording) -> Iterator[tuple[str, str]]:
    """`destroy` stops VMs. Without stop_on_destroy Proxmox waits 30 minutes for a shutdown."""
    for vm in recording.of_type(MACHINE):
        if vm.plain("stopOnDestroy") is not True:
            yield vm.name, "needs stop_on_destroy"


@invariant("bpg#2084, siderolabs/talos#11651")
def vms_do_not_wait_for_the_guest_agent(recording: Recording) -> Iterator[tuple[str, str]]:
    """VMs do not wait for the guest agent: Talos starts it after it gets its machine config."""
    for vm in recording.of_type(MACHINE):
        agent = vm.plain("agent", {})
        if agent.get("enabled") and not agent.get("waitForIp", {}).get("disabled"):
            yield (
                vm.name,
                "waits for the guest agent, which starts after the configuration",
            )


@invariant("bpg: file_id runs `qm disk import` over SSH")
def disks_need_no_ssh(recording: Recording) -> Iterator[tuple[str, str]]:
    """Disks are imported with import_from, which uses the API, and not with file_id."""
    for vm in recording.of_type(MACHINE):
        if any("fileId" in disk for disk in vm.plain("disks", [])):
            yield vm.name, "imports its disk over SSH: use import_from"


@invariant("Proxmox VE API: import-from reads a volume of the VM's own host")
def vms_import_an_image_of_their_host(recording: Recording) -> Iterator[tuple[str, str]]:
    """Each VM depends on an image on its own host."""
    files = {file.id: file for file in recording.of_type(FILE)}
    for vm in recording.of_type(MACHINE):
        for disk in vm.plain("disks", []):
            source = disk.get("importFrom")
            hosts = {f.plain("nodeName") for f in recording.of_type(FILE) if f.id == source}
            if source and source not in files:
                yield vm.name, f"imports {source}, which no resource creates"
            elif source and vm.plain("nodeName") not in hosts:
                yield vm.name, f"imports {source}, which is not on its host"
            elif source and not recording.before(vm) & {f.urn for f in recording.of_type(FILE)}:
                yield vm.name, "has no dependency on the image that it imports"
