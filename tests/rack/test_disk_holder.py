"""Retained data disks on a simulated Proxmox, which lists a new VM without its name."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from clients import wait
from clients.errors import OperationError
from lifecycle.operations.disk_holder import DiskHolder, tag
from settings.groups import Endpoint
from tests.e2e.rack.faults import Fault
from tests.e2e.rack.rack import Rack

STACK_TAG = "ephemeral-castle-homelab"
NAME = "castle-worker-1-data"
DISK = "vm-108010-disk-0"


async def find_or_create(rack: Rack, node: str = "castle-worker-1", host: str = "pve") -> str:
    """The path of the node's retained disk."""
    proxmox = Endpoint(endpoint=rack.endpoint, apiToken=SecretStr(rack.api_token), insecure=True)
    holder = DiskHolder(
        proxmox=proxmox,
        stack_tag=STACK_TAG,
        node=node,
        vm_id=8010,
        host=host,
        datastore="local-lvm",
        size_gib=43,
    )
    return await asyncio.to_thread(holder.find_or_create_disk)


async def test_three_calls_in_a_row_create_one_disk(rack: Rack) -> None:
    assert [await find_or_create(rack) for _ in range(3)] == [DISK] * 3
    assert list(rack.vms) == [108010]


async def test_a_disk_holder_with_the_id_of_a_deleted_vm_is_found(rack: Rack) -> None:
    rack.proxmox.cluster.add_foreign(108010, node="pve", config={"name": "nas"})
    rack.proxmox.cluster.reported(rack.vms[108010])
    del rack.proxmox.cluster.vms[108010]
    assert [await find_or_create(rack) for _ in range(2)] == [DISK] * 2
    assert rack.proxmox.cluster.reported(rack.vms[108010])["name"] == "nas"


async def test_two_runs_at_the_same_time_create_one_disk(
    rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "INTERVAL", 0.1)
    # Proxmox takes the id at once, and sets name and tags when the disk is complete.
    rack.proxmox.tasks.import_s = 0.5
    found = await asyncio.gather(*(find_or_create(rack) for _ in range(3)))
    assert found == [DISK] * 3
    assert list(rack.vms) == [108010]


async def test_a_creation_that_does_not_end_is_named(
    rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.operations.disk_holder.CREATE_TIMEOUT_S", 0)
    rack.proxmox.cluster.add_foreign(108010, node="pve").lock = "create"
    with pytest.raises(OperationError, match="creating VM 108010 on host pve for 0 s.*unlock"):
        await find_or_create(rack)


async def test_no_disk_is_created_while_the_host_of_a_disk_holder_is_silent() -> None:
    async with Rack(["pve", "pve2"]) as rack:
        await find_or_create(rack, host="pve2")
        rack.proxmox.cluster.node("pve2").online = False
        with pytest.raises(
            OperationError,
            match=r"VM 108010 on host pve2 may own .* castle-worker-1, .*No route to host.*Start "
            r"host pve2.*delete /etc/pve/nodes/pve2/qemu-server/108010\.conf",
        ):
            await find_or_create(rack)
        assert list(rack.vms) == [108010]


async def test_the_named_disk_holder_of_another_node_on_a_silent_host_is_no_obstacle() -> None:
    async with Rack(["pve", "pve2"]) as rack:
        await find_or_create(rack, host="pve2")
        rack.proxmox.cluster.report_s = 0
        rack.proxmox.cluster.reported(rack.vms[108010])
        rack.proxmox.cluster.report_s = 10
        # Its host is silent since less than 300 s, so Proxmox still lists the name.
        rack.faults.append(
            Fault(method="GET", path="/nodes/pve2/.*", status=595, reason="No route to host")
        )
        assert await find_or_create(rack, "castle-worker-2") == "vm-108011-disk-0"


async def test_two_disk_holders_of_one_node_are_refused_by_their_ids(rack: Rack) -> None:
    await find_or_create(rack)
    copy = dict(rack.vms[108010].config)
    rack.proxmox.cluster.add_foreign(108020, node="pve", config=copy)
    with pytest.raises(
        OperationError,
        match="VM 108010 on host pve and VM 108020 on host pve each claim .* Remove the tag "
        f"{tag(STACK_TAG)} from the others",
    ):
        await find_or_create(rack)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Copy-of-VM-castle-worker-1-data"},
        {"description": f"Retained data disk of castle-worker-2 ({STACK_TAG}); never started"},
    ],
)
async def test_name_and_notes_that_name_different_nodes_are_refused(
    rack: Rack, change: dict[str, str]
) -> None:
    await find_or_create(rack)
    rack.vms[108010].config |= change
    with pytest.raises(OperationError, match="not clear which node .* VM 108010 on host pve"):
        await find_or_create(rack)
    assert list(rack.vms) == [108010]


async def test_other_notes_are_ignored(rack: Rack) -> None:
    await find_or_create(rack)
    rack.vms[108010].config["description"] = "my data"
    assert await find_or_create(rack) == DISK


async def test_nodes_whose_shortened_names_are_equal_have_their_own_disks(rack: Rack) -> None:
    first, second = (f"{'a' * 50}-worker-{number}" for number in (1, 2))
    assert await find_or_create(rack, first) == DISK
    assert await find_or_create(rack, second) == "vm-108011-disk-0"
    assert await find_or_create(rack, first) == DISK


async def test_a_disk_holder_that_lost_its_tag_is_refused_and_no_empty_disk_is_created(
    rack: Rack,
) -> None:
    await find_or_create(rack)
    rack.vms[108010].config["tags"] = "mine"
    for vm in rack.vms.values():
        rack.proxmox.cluster.reported(vm)
    rack.proxmox.cluster.report_s = 0
    with pytest.raises(OperationError, match=f"give it the tag {tag(STACK_TAG)} in Proxmox"):
        await find_or_create(rack)
    assert list(rack.vms) == [108010]
