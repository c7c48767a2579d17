"""Which VMs run on a simulated Proxmox, which lists a new VM without name and status."""

from __future__ import annotations

import asyncio

import pytest

from clients.proxmox.api import ProxmoxError
from lifecycle.operations.power import Power
from tests.e2e.rack.faults import Fault
from tests.e2e.rack.rack import Rack
from tests.lifecycle.operations.fake_cluster import node_context

TAG = "a-stack"
NAMES = ["cp-1", "cp-2", "cp-3"]


async def find_running(rack: Rack) -> list[str]:
    """The control planes that run or may run."""
    context = node_context(
        proxmox_endpoint=rack.endpoint, proxmox_insecure=True, proxmox_token=rack.api_token
    )
    return await asyncio.to_thread(Power.of(context).find_running, NAMES, TAG)


@pytest.fixture
def control_planes(rack: Rack) -> Rack:
    """cp-1 runs, cp-2 is off, cp-3 does not exist; there are VMs of others."""
    for vm_id, name, tags in (
        (8000, "cp-1", f"{TAG};talos"),
        (8001, "cp-2", TAG),
        (9000, "cp-3", f"{TAG}-2"),
    ):
        vm = rack.proxmox.cluster.add_foreign(
            vm_id, node="pve", config={"name": name, "tags": tags}
        )
        vm.started_at = None if name == "cp-2" else vm.started_at
    return rack


async def test_vms_are_found_by_tag_and_status(control_planes: Rack) -> None:
    assert await find_running(control_planes) == ["cp-1"]


async def test_a_vm_that_proxmox_lists_without_name_and_status_runs(control_planes: Rack) -> None:
    control_planes.proxmox.cluster.report_s = float("inf")
    for vm in control_planes.vms.values():
        vm.created_at = 0
    assert await find_running(control_planes) == ["cp-1"]


async def test_a_vm_on_a_silent_host_may_run(control_planes: Rack) -> None:
    control_planes.proxmox.cluster.node("pve").online = False
    # Its name is unknown, so it may be any of the control planes.
    assert await find_running(control_planes) == NAMES


async def test_a_listed_name_tells_which_vm_may_run(control_planes: Rack) -> None:
    silent = "/nodes/pve/qemu/8001/status/current"
    control_planes.faults.append(Fault(method="GET", path=silent, status=595, times=None))
    assert await find_running(control_planes) == ["cp-1", "cp-2"]


async def test_a_vm_that_was_deleted_meanwhile_does_not_run(control_planes: Rack) -> None:
    gone = "Configuration file 'nodes/pve/qemu-server/8000.conf' does not exist"
    path = "/nodes/pve/qemu/8000/status/current"
    control_planes.faults.append(Fault(method="GET", path=path, reason=gone))
    assert await find_running(control_planes) == []


async def test_no_answer_of_proxmox_is_an_error(control_planes: Rack) -> None:
    await control_planes.proxmox.stop()
    with pytest.raises(ProxmoxError):
        await find_running(control_planes)
