"""What a simulated Proxmox does after a power cut."""

from __future__ import annotations

import asyncio
import dataclasses

import aiohttp
import pytest
from pydantic import SecretStr

from clients.errors import OperationError
from clients.proxmox.guests import find_conflicts, list_guests
from commands.orphaned_resources import find_orphans
from settings.groups import Endpoint
from tests.e2e.rack.rack import Rack
from tests.recorder import settings_with

from .proxmox_client import ProxmoxClient

ADDRESS = "127.77.12.{}"


async def test_only_vms_that_start_on_boot_and_are_not_locked_start(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    for vmid, on_boot in ((101, 1), (102, 0), (103, 1)):
        await proxmox.create_vm(vmid, ADDRESS.format(vmid), onboot=on_boot)
        await proxmox.vm(vmid, "POST", "status/start")
    rack.vms[103].lock = "backup"
    await rack.lose_power()
    assert not rack.machines
    await rack.restore_power()
    assert [vmid for vmid, vm in rack.vms.items() if vm.running] == [101]
    assert list(rack.machines) == [ADDRESS.format(101)]
    assert [task.exitstatus for task in rack.proxmox.tasks][-1] == "VM is locked (backup)"
    # No host has reported about its guests yet.
    [status] = {
        guest["status"]
        for guest in await proxmox.call("GET", "/cluster/resources")
        if "vmid" in guest
    }
    assert status == "unknown"


async def test_an_import_leaves_its_lock_and_a_part_of_a_disk(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    rack.proxmox.tasks.import_s = 0.1
    begun = asyncio.create_task(proxmox.create_vm(101, ADDRESS.format(11)))
    while 101 not in rack.vms:
        await asyncio.sleep(0)
    await rack.lose_power()
    with pytest.raises(aiohttp.ClientError):
        await begun
    await rack.restore_power()
    await asyncio.sleep(0.2)
    assert (rack.vms[101].lock, rack.vms[101].config) == ("create", {})
    assert list(rack.vms[101].volumes()) == ["local-lvm:vm-101-disk-0"]
    *_, task = rack.proxmox.tasks
    assert task.exitstatus == "unexpected status"
    endpoint = Endpoint(endpoint=rack.endpoint, apiToken=SecretStr(rack.api_token), insecure=True)
    assert await asyncio.to_thread(find_orphans, endpoint, "a-stack", {102}) == []
    [orphan] = await asyncio.to_thread(find_orphans, endpoint, "a-stack", {101})
    with pytest.raises(OperationError, match="VM 101 on pve is locked .create.") as error:
        orphan.remove()
    assert "`qm unlock 101 && qm destroy 101 --destroy-unreferenced-disks 1`" in str(error.value)
    guests = await asyncio.to_thread(list_guests, endpoint)
    worker = dataclasses.replace(settings_with().machines[-1], vm_id=101)
    [conflict] = find_conflicts(guests, [worker], "a-stack")
    assert "is taken: VM 101 on pve is locked (create)" in str(conflict)
    assert "`qm unlock 101 && qm destroy 101" in str(conflict)


async def test_a_host_that_has_just_booted_is_asked_which_vms_run(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    for vmid, on_boot in ((101, 1), (102, 0)):
        await proxmox.create_vm(vmid, ADDRESS.format(vmid), name=f"vm-{vmid}", onboot=on_boot)
    await rack.lose_power()
    await rack.restore_power()
    endpoint = Endpoint(endpoint=rack.endpoint, apiToken=SecretStr(rack.api_token), insecure=True)
    found = await asyncio.to_thread(list_guests, endpoint)
    assert [(guest.name, guest.is_running, guest.is_off) for guest in found] == [
        ("vm-101", True, False),
        ("vm-102", False, True),
    ]
    [unknown, _] = await asyncio.to_thread(list_guests, endpoint, [])
    assert (unknown.is_running, unknown.is_off) == (False, False)
