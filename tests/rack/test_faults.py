"""Faults on order: each kind, at each of the rack's APIs, once or always."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import grpc
import pytest

from tests.e2e.rack.control import Control
from tests.e2e.rack.faults import Fault, Kind
from tests.e2e.rack.rack import Rack
from tests.e2e.rack.talos.messages import talos

from .machine_configs import VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient, RefusedError
from .talos_client import Apply, Connect

ADDRESS = "127.77.3.11"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.REFUSED, "500 simulated fault"),
        (Kind.TIMED_OUT, "596 Connection timed out"),
        (Kind.LOCKED, "500 VM is locked .backup."),
        (Kind.TASK_FAILED, "simulated fault"),
    ],
)
async def test_proxmox_refuses_once_and_does_nothing(
    rack: Rack, proxmox: ProxmoxClient, kind: Kind, words: str
) -> None:
    rack.faults.append(Fault(method="POST", path="/nodes/[^/]+/qemu", kind=kind))
    with pytest.raises(RefusedError, match=words):
        await proxmox.create_vm(101, ADDRESS)
    assert not rack.vms
    await proxmox.create_vm(101, ADDRESS)
    assert list(rack.vms) == [101]


@pytest.mark.parametrize(("kind", "made"), [(Kind.CUT, False), (Kind.CUT_AFTER, True)])
async def test_a_cut_connection_leaves_it_undone_or_done(
    rack: Rack, proxmox: ProxmoxClient, kind: Kind, made: bool
) -> None:
    rack.faults.append(Fault(method="POST", path="/nodes/[^/]+/qemu", kind=kind))
    with pytest.raises(aiohttp.ClientError):
        await proxmox.create_vm(101, ADDRESS)
    assert (101 in rack.vms) is made


async def test_some_may_pass_first_and_all_may_be_struck(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    rack.faults.append(Fault(method="GET", path="/version", skip=1, times=None))
    await proxmox.call("GET", "/version")
    for _ in range(3):
        with pytest.raises(RefusedError):
            await proxmox.call("GET", "/version")
    assert rack.faults[0].struck == 3
    await rack.reset()
    await proxmox.call("GET", "/version")


async def test_a_slow_answer_is_an_answer(rack: Rack, proxmox: ProxmoxClient) -> None:
    rack.faults.append(Fault(method="GET", path="/version", kind=Kind.SLOW, seconds=0.01))
    await proxmox.call("GET", "/version")
    assert rack.faults[0].struck == 1


async def test_the_factory_fails(rack: Rack) -> None:
    rack.faults.append(Fault(api="factory", method="POST", path="/schematics"))
    rack.faults.append(Fault(api="factory", method="POST", path="/schematics", kind=Kind.CUT_AFTER))
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{rack.factory_url}/schematics", data="{}") as response:
            assert response.status == 500
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"{rack.factory_url}/schematics", data="{}")
    assert len(rack.factory.schematics) == 1


@pytest.mark.parametrize(
    ("kind", "code", "done"),
    [
        (Kind.REFUSED, grpc.StatusCode.UNAVAILABLE, False),
        (Kind.TIMED_OUT, grpc.StatusCode.DEADLINE_EXCEEDED, False),
        (Kind.CUT, grpc.StatusCode.UNAVAILABLE, False),
        (Kind.CUT_AFTER, grpc.StatusCode.UNAVAILABLE, True),
    ],
)
async def test_a_machine_fails(
    rack: Rack,
    proxmox: ProxmoxClient,
    secrets: ClusterSecrets,
    connect: Connect,
    apply: Apply,
    kind: Kind,
    code: grpc.StatusCode,
    done: bool,
) -> None:
    await proxmox.boot_machine(101, ADDRESS)
    await apply(ADDRESS, secrets.config("controlplane", "cp1", vip=VIP))
    rack.faults.append(Fault(api="talos", method="Bootstrap", path=ADDRESS, kind=kind))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async with connect(ADDRESS) as client:
            await client.call("Bootstrap", talos.BootstrapRequest())
    assert failed.value.code() is code
    assert rack.machines[ADDRESS].installation.has_etcd_data is done


@pytest.fixture
async def control(rack: Rack) -> AsyncIterator[aiohttp.ClientSession]:
    """The hand on the rack, as another process has it."""
    control = Control(rack)
    async with aiohttp.ClientSession(base_url=await control.start(rack.address)) as session:
        yield session
    await control.stop()


async def test_machines_are_told_what_to_do_and_tell_what_happened(
    rack: Rack, control: aiohttp.ClientSession
) -> None:
    await control.post("/machines", json={"sick_etcd": [ADDRESS], "reboot_s": 0})
    assert rack.talos.hand.sick_etcd == {ADDRESS}
    rack.talos.hand.note("down", ADDRESS)
    [(_, what, whose)] = await (await control.get("/machines")).json()
    assert (what, whose) == ("down", ADDRESS)


async def test_longhorn_is_told_what_to_do(rack: Rack, control: aiohttp.ClientSession) -> None:
    orders = {
        "backup_target_error": "AccessDenied",
        "due_jobs": ["backup"],
        "engine_upgrades": False,
        "foreign_backup_volumes": ["pvc-1"],
        "toleration_s": 5,
    }
    await control.post("/machines", json=orders)
    hand = rack.talos.hand
    assert (hand.backup_target_error, hand.engine_upgrades) == ("AccessDenied", False)
    assert (hand.due_jobs, hand.foreign_backup_volumes) == ({"backup"}, {"pvc-1"})
    assert hand.toleration_s == 5


async def test_the_hand_orders_faults_reads_requests_and_begins_anew(
    rack: Rack, proxmox: ProxmoxClient, control: aiohttp.ClientSession
) -> None:
    fault = {"method": "GET", "path": "/version", "kind": "timed-out"}
    assert (await control.post("/faults", json=fault)).status == 200
    with pytest.raises(RefusedError, match="596"):
        await proxmox.call("GET", "/version")
    [found] = await (await control.get("/faults")).json()
    assert found["struck"] == 1
    requests = await (await control.get("/requests")).json()
    assert requests[-1] == {"api": "proxmox", "method": "GET", "path": "/version"}
    await proxmox.create_vm(101, ADDRESS)
    await control.post("/reset")
    assert await (await control.get("/requests")).json() == []
    assert await (await control.get("/faults")).json() == []
    assert not rack.vms
