"""What of a stack is left on a simulated Proxmox; nothing else is removed with it."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from clients.errors import OperationError
from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import mac_address
from commands.orphaned_resources import (
    OrphanedResource,
    find_orphans,
    find_vms,
)
from settings.groups import Endpoint
from tests.e2e.rack.faults import Fault, Kind
from tests.e2e.rack.rack import Rack

from .proxmox_client import ProxmoxClient

OWNER = "ephemeral-castle-homelab"
IMAGE = f"{OWNER}-talos-v1.13.9-0123.qcow2"


def network_device(vm_id: int) -> str:
    """As the provider writes it."""
    return f"model=virtio,bridge=vmbr0,macaddr={mac_address(OWNER, vm_id)}"


def endpoint(rack: Rack) -> Endpoint:
    return Endpoint(endpoint=rack.endpoint, apiToken=SecretStr(rack.api_token), insecure=True)


async def found(rack: Rack) -> list[OrphanedResource]:
    return await asyncio.to_thread(find_orphans, endpoint(rack), OWNER)


@pytest.fixture
async def _left(proxmox: ProxmoxClient) -> None:
    """One of each kind that is ours, beside one of each kind that is not."""
    await proxmox.call("POST", "/pools", poolid="castle", comment=f"Machines of {OWNER}")
    await proxmox.call("POST", "/pools", poolid="mine", comment="my own")
    await proxmox.boot_machine(101, "127.77.3.11", net0=network_device(101))
    await proxmox.vm(101, "PUT", "config", tags=f"{OWNER};talos;worker")
    await proxmox.call("PUT", "/pools", poolid="castle", vms="101")
    await proxmox.boot_machine(102, "127.77.3.12")
    await proxmox.vm(102, "PUT", "config", tags=f"{OWNER}-2;talos")
    await proxmox.download_image(filename=IMAGE)


@pytest.mark.usefixtures("_left")
async def test_what_is_ours_is_named_and_goes_and_what_is_not_stays(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    things = await found(rack)
    assert [thing.sentence for thing in things] == [
        "VM 101 (vm101 on pve) with its disks",
        "the pool castle",
        f"the image local:import/{IMAGE} on pve",
    ]
    for thing in things:
        await asyncio.to_thread(thing.remove)
    assert await found(rack) == []
    assert list(rack.vms) == [102]
    assert list(rack.proxmox.cluster.pools) == ["mine"]
    kept = await proxmox.call("GET", "/nodes/pve/storage/local/content")
    assert [file["volid"] for file in kept] == ["local:import/talos.qcow2"]


async def test_a_clone_and_a_restored_backup_are_somebody_elses(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    """A clone has a MAC address of its own, a backup that of the machine it was made of."""
    for vm_id, device in ((101, network_device(101)), (102, ""), (103, network_device(101))):
        named = {"net0": device} if device else {}
        await proxmox.boot_machine(vm_id, f"127.77.3.{vm_id}", **named)
        await proxmox.vm(vm_id, "PUT", "config", tags=f"{OWNER};talos;worker")
    [ours] = await found(rack)
    assert "VM 101" in ours.sentence
    [ours] = await asyncio.to_thread(find_vms, endpoint(rack), OWNER, ())
    assert "VM 101" in ours.sentence


@pytest.mark.usefixtures("_left")
async def test_a_storage_that_is_away_keeps_nothing_else(
    rack: Rack, capsys: pytest.CaptureFixture[str]
) -> None:
    for storage in rack.proxmox.cluster.nodes["pve"].storages:
        storage.active = False
    rack.faults.append(Fault(method="GET", path="/nodes/pve/storage/local/content", times=None))
    things = await found(rack)
    assert [thing.sentence.partition(" (")[0] for thing in things] == [
        "VM 101",
        "the pool castle",
    ]
    assert "does not reach the storage local on pve: images on it were not searched" in (
        capsys.readouterr().out
    )


@pytest.mark.usefixtures("_left")
async def test_what_cannot_go_is_told_by_its_name(rack: Rack) -> None:
    rack.faults.append(
        Fault(method="DELETE", path="/nodes/pve/qemu/101", kind=Kind.LOCKED, times=None)
    )
    machine, *_ = await found(rack)
    with pytest.raises(
        OperationError, match=r"VM 101 could not be removed: .*VM is locked .backup."
    ):
        await asyncio.to_thread(machine.remove)
    rack.faults[0].kind = Kind.TASK_FAILED
    with pytest.raises(OperationError, match="VM 101 could not be removed: simulated fault"):
        await asyncio.to_thread(machine.remove)
    assert sorted(rack.vms) == [101, 102]


@pytest.mark.parametrize("path", ["/cluster/resources", "/pools", "/nodes"])
async def test_a_proxmox_that_does_not_say_what_it_has_is_told(rack: Rack, path: str) -> None:
    rack.faults.append(Fault(method="GET", path=path))
    with pytest.raises(ProxmoxError, match="answers 500 simulated fault"):
        await found(rack)


def test_an_image_on_a_storage_that_hosts_share_is_named_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = f"import/{OWNER}-talos-v1.13.9-0123-pve.qcow2"
    answers: dict[str, object] = {
        "/pools": [],
        "/nodes": [{"node": name, "status": "online"} for name in ("pve", "pve2")],
    }
    for host in ("pve", "pve2"):
        storages = f"/nodes/{host}/storage"
        answers[f"{storages}?content=import&enabled=1"] = [
            {"storage": "nas", "active": 1, "shared": 1},
            {"storage": "local", "active": 1, "shared": 0},
        ]
        for name in ("nas", "local"):
            volume = {"volid": f"{name}:{image}"}
            answers[f"{storages}/{name}/content?content=import"] = [volume]
    monkeypatch.setattr("commands.orphaned_resources.list_guests", lambda _: [])
    monkeypatch.setattr("clients.proxmox.api.caller", lambda *_: answers.__getitem__)
    nowhere = Endpoint(endpoint="https://127.0.0.1:8006", apiToken=SecretStr("a@pve!b=c"))
    assert [thing.sentence for thing in find_orphans(nowhere, OWNER)] == [
        f"the image nas:{image} on pve",
        f"the image local:{image} on pve",
        f"the image local:{image} on pve2",
    ]
