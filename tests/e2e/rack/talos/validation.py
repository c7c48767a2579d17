"""Why a machine refuses a configuration.

A real machine checks far more; ``talosctl validate`` knows most of it and is asked if it is there.
An unmatched disk selector and an address that is taken do not fail a real apply: there the machine
waits for ever, which a test is better told at once.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping

from ..proxmox.guests import Guest, GuestDisk
from .config import ConfigError, MachineConfig
from .selector import SelectorError, matches


async def validate(config: MachineConfig, guest: Guest, taken: Mapping[str, str]) -> None:
    """Raise `ConfigError` with all problems; ``taken`` names the owner of each address."""
    problems = [
        *_shared_addresses(config),
        *_taken_addresses(config, guest, taken),
        *_user_volumes(config, guest),
        *await _talosctl(config),
    ]
    if problems:
        raise ConfigError("configuration validation failed: " + "; ".join(problems))


def disk_fields(disk: GuestDisk) -> dict[str, object]:
    """Return what a selector can ask of a disk."""
    return {
        "size": disk.size,
        "dev_path": disk.device,
        "serial": disk.serial,
        "model": "QEMU HARDDISK",
        "transport": "virtio",
        "rotational": False,
        "readonly": False,
    }


def _shared_addresses(config: MachineConfig) -> Iterator[str]:
    if config.vips and not config.is_control_plane:
        yield "virtual (shared) IP is not allowed on non-controlplane nodes"


def _taken_addresses(
    config: MachineConfig, guest: Guest, taken: Mapping[str, str]
) -> Iterator[str]:
    if guest.address in config.vips:
        yield f"address {guest.address} cannot be the machine's own and shared"
    for address in [*config.vips, *config.addresses]:
        if address in taken:
            yield f"address {address} is already in use by {taken[address]}"


def _user_volumes(config: MachineConfig, guest: Guest) -> Iterator[str]:
    for volume in config.user_volumes:
        try:
            found = any(
                matches(volume.selector, disk_fields(disk), system_disk=disk.is_boot_disk)
                for disk in guest.disks
            )
        except SelectorError as error:
            yield f"UserVolumeConfig {volume.name}: disk selector {error}"
            continue
        if not found:
            yield f"UserVolumeConfig {volume.name}: no disks matched {volume.selector!r}"


async def _talosctl(config: MachineConfig) -> list[str]:
    program = shutil.which("talosctl")
    if program is None:
        return []
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(config.data)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            program, "validate", "--mode", "cloud", "--config", file.name,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    return [] if process.returncode == 0 else [output.decode().strip()]
