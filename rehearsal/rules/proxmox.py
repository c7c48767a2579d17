"""What Proxmox and its provider refuse: images and machines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rehearsal.record import Recording
from rehearsal.rules.book import rule
from settings.resource_types import FILE, MACHINE, SCHEMATIC


@rule("facts/providers.md A3.9")
def image_file_names_tell_images_apart(recording: Recording) -> Iterator[tuple[str, str]]:
    """Pulumi creates before it deletes: a new image under an old name is refused."""
    for file in recording.of_type(FILE):
        name, url = str(file.plain("fileName")), str(file.plain("url"))
        parts = re.search(r"/image/([0-9a-f]{64})/(v[\d.]+)/", url)
        if parts is None:
            yield file.name, f"{url} names no schematic and version"
        elif not all(part in name for part in parts.groups()):
            yield file.name, f"{name} must hold the version and the schematic of {url}"


@rule("facts/providers.md A3.10")
def images_can_be_unpacked(recording: Recording) -> Iterator[tuple[str, str]]:
    """Proxmox imports qcow2, and unpacks no xz."""
    for file in recording.of_type(FILE):
        if file.plain("contentType") != "import":
            yield file.name, "contentType must be import, or a disk cannot be imported from it"
        if not str(file.plain("url")).endswith(".qcow2"):
            yield file.name, "Proxmox cannot unpack this: take the qcow2 image"


@rule("facts/end-to-end.md 8")
def schematic_changes_reach_the_image(recording: Recording) -> Iterator[tuple[str, str]]:
    """An update in place keeps the old schematic's id for ever."""
    for schematic in recording.of_type(SCHEMATIC):
        if "schematic" not in schematic.replace_on_changes:
            yield schematic.name, "needs replace_on_changes=['schematic']"


@rule("facts/providers.md A3.6, facts/end-to-end.md 9")
def machines_are_declared(recording: Recording) -> Iterator[tuple[str, str]]:
    """Ids and MAC addresses are fixed, and no two machines share one."""
    seen: dict[tuple[str, Any], str] = {}
    for machine in recording.of_type(MACHINE):
        devices = machine.plain("networkDevices", [])
        facts = [("vmId", machine.plain("vmId"))]
        facts += [("macAddress", device.get("macAddress")) for device in devices]
        for what, value in facts:
            if not value:
                yield machine.name, f"has no fixed {what}"
            elif (other := seen.setdefault((what, value), machine.name)) != machine.name:
                yield machine.name, f"has the {what} {value} of {other}"


@rule("facts/providers.md A3.4; bpg: q35 has only ide0 and ide2")
def machines_boot_from_their_disk(recording: Recording) -> Iterator[tuple[str, str]]:
    """Without a cdrom of ours the provider adds the host's drive and boots from it."""
    for machine in recording.of_type(MACHINE):
        cdrom = machine.plain("cdrom", {})
        if cdrom.get("fileId") != "none":
            yield machine.name, "needs cdrom fileId none, or it gets the host's physical drive"
        if not machine.plain("bootOrders"):
            yield machine.name, "needs bootOrders, or it boots from the cdrom"
        drives = [cdrom.get("interface", "ide3"), machine.plain("initialization", {})["interface"]]
        if machine.plain("machine") == "q35" and not set(drives) <= {"ide0", "ide2"}:
            yield machine.name, f"q35 has only ide0 and ide2, not {', '.join(drives)}"
        if len(set(drives)) < len(drives):
            yield machine.name, f"two drives on {drives[0]}"


@rule("facts/providers.md A3.3 (pulumi-proxmoxve#664), facts/end-to-end.md 8")
def machines_have_no_permanent_diff(recording: Recording) -> Iterator[tuple[str, str]]:
    """One path a disk for its speed, and a new image does not touch a machine that runs.

    A machine that has never come up is replaced for a new image.
    """
    for machine in recording.of_type(MACHINE):
        disks = machine.plain("disks", [])
        wanted = {f"disks[{index}].speed" for index in range(len(disks))}
        wanted |= {f"disks[{i}].importFrom" for i, disk in enumerate(disks) if "importFrom" in disk}
        if "disks" in machine.replace_on_changes:
            wanted = {path for path in wanted if path.endswith("speed")}
        if missing := wanted - set(machine.ignore_changes):
            yield machine.name, f"needs ignore_changes of {', '.join(sorted(missing))}"


@rule("bpg docs/guides/vm-lifecycle.md; facts/providers.md B6")
def machines_are_switched_off_on_destroy(recording: Recording) -> Iterator[tuple[str, str]]:
    """Without stop_on_destroy Proxmox asks a dying machine to shut down, for half an hour."""
    for machine in recording.of_type(MACHINE):
        if machine.plain("stopOnDestroy") is not True:
            yield machine.name, "needs stop_on_destroy"


@rule("bpg#2084, siderolabs/talos#11651")
def machines_do_not_wait_for_an_agent(recording: Recording) -> Iterator[tuple[str, str]]:
    """Talos starts the guest agent only once it is configured."""
    for machine in recording.of_type(MACHINE):
        agent = machine.plain("agent", {})
        if agent.get("enabled") and not agent.get("waitForIp", {}).get("disabled"):
            yield machine.name, "would wait for an agent that runs only after its configuration"


@rule("facts/providers.md A2")
def disks_need_no_ssh(recording: Recording) -> Iterator[tuple[str, str]]:
    """file_id imports over SSH; import_from uses the API."""
    for machine in recording.of_type(MACHINE):
        if any("fileId" in disk for disk in machine.plain("disks", [])):
            yield machine.name, "imports its disk over SSH: use import_from"


@rule("facts/providers.md B3")
def machines_import_an_image_of_their_host(recording: Recording) -> Iterator[tuple[str, str]]:
    """The image must lie on the machine's own host, and be there first."""
    files = {file.id: file for file in recording.of_type(FILE)}
    for machine in recording.of_type(MACHINE):
        for disk in machine.plain("disks", []):
            source = disk.get("importFrom")
            hosts = {f.plain("nodeName") for f in recording.of_type(FILE) if f.id == source}
            if source and source not in files:
                yield machine.name, f"imports {source}, which nothing makes"
            elif source and machine.plain("nodeName") not in hosts:
                yield machine.name, f"imports {source}, which is not on its host"
            elif source and not recording.before(machine) & {
                f.urn for f in recording.of_type(FILE)
            }:
                yield machine.name, "does not wait for the image that it imports"
