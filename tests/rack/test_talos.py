"""Machines: maintenance, mutual TLS, and what they answer."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import tarfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc import StatusCode

from tests.e2e.rack.rack import Rack
from tests.e2e.rack.talos.messages import cosi, talos

from .machine_configs import SELECTOR, VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient, RefusedError
from .talos_client import Apply, Connect

CONTROL_PLANE, WORKER = "127.77.3.11", "127.77.3.21"


@pytest.fixture
async def cluster(proxmox: ProxmoxClient, secrets: ClusterSecrets, apply: Apply) -> None:
    """A control plane and a worker, configured but not bootstrapped."""
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await proxmox.boot_machine(201, WORKER)
    await apply(WORKER, secrets.config("worker", "worker1", selector=SELECTOR))
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP))


async def code_of(call: Awaitable[Any]) -> StatusCode:
    """Return the status with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code()


async def test_a_machine_lives_as_long_as_its_vm_runs(rack: Rack, proxmox: ProxmoxClient) -> None:
    await proxmox.create_vm(101, CONTROL_PLANE)
    assert not rack.machines
    await proxmox.vm(101, "POST", "status/start")
    assert rack.machines[CONTROL_PLANE].stage == "maintenance"
    assert rack.machines[CONTROL_PLANE].version == "v1.13.9"
    await proxmox.vm(101, "POST", "status/shutdown", forceStop=1)
    assert not rack.machines


async def test_a_machine_keeps_its_configuration_over_a_restart_but_not_over_a_delete(
    rack: Rack, proxmox: ProxmoxClient, cluster: None
) -> None:
    await proxmox.vm(101, "POST", "status/reboot")
    assert rack.machines[CONTROL_PLANE].hostname == "cp1"
    await proxmox.vm(101, "POST", "status/stop")
    await proxmox.call("DELETE", "/nodes/pve/qemu/101/", purge=1)
    await proxmox.boot_machine(101, CONTROL_PLANE)
    assert rack.machines[CONTROL_PLANE].stage == "maintenance"


async def test_a_vm_without_an_image_boots_nothing(rack: Rack, proxmox: ProxmoxClient) -> None:
    await proxmox.create_vm(101, CONTROL_PLANE, scsi0="file=local-lvm:8")
    await proxmox.vm(101, "POST", "status/start")
    assert not rack.machines


async def test_a_disk_that_grows_is_seen_at_once(rack: Rack, proxmox: ProxmoxClient) -> None:
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await proxmox.vm(101, "PUT", "resize", disk="scsi1", size=50 * 1024**3)
    assert [disk.size for disk in rack.machines[CONTROL_PLANE].guest.disks] == [
        10 * 1024**3,
        50 * 1024**3,
    ]


async def test_an_address_can_be_taken_only_once(rack: Rack, proxmox: ProxmoxClient) -> None:
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await proxmox.create_vm(102, CONTROL_PLANE)
    with pytest.raises(RefusedError, match=f"{CONTROL_PLANE} is already in use by vm101"):
        await proxmox.vm(102, "POST", "status/start")
    assert not rack.vms[102].running


async def test_maintenance_answers_everybody_and_mutual_tls_only_administrators(
    connect: Connect,
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
) -> None:
    await proxmox.boot_machine(101, CONTROL_PLANE)
    async with connect(CONTROL_PLANE, insecure=True) as client:
        [answer] = (await client.call("Disks")).messages
        assert [d.device_name for d in answer.disks if d.system_disk] == ["/dev/sda"]
    [answer] = (await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1"))).messages
    assert answer.mode == 2
    async with connect(CONTROL_PLANE, insecure=True) as client:
        assert await code_of(client.call("Disks")) == StatusCode.UNAVAILABLE
    async with connect(CONTROL_PLANE) as client:
        [version] = (await client.call("Version")).messages
        assert version.version.tag == "v1.13.9"


async def test_a_worker_waits_for_a_control_plane_to_sign_its_certificate(
    connect: Connect,
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
) -> None:
    await proxmox.boot_machine(201, WORKER)
    await apply(WORKER, secrets.config("worker", "worker1"))
    async with connect(WORKER) as client:
        assert await code_of(client.call("Version")) == StatusCode.UNAVAILABLE
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1"))
    async with connect(WORKER) as client:
        await client.call("Version")


async def test_bootstrap_works_once_and_on_a_control_plane(connect: Connect, cluster: None) -> None:
    async with connect(CONTROL_PLANE) as client:
        [services] = (await client.call("ServiceList")).messages
        assert {s.id: s.state for s in services.services}["etcd"] == "Preparing"
        await client.call("Bootstrap", talos.BootstrapRequest())
        [services] = (await client.call("ServiceList", nodes=[CONTROL_PLANE])).messages
        assert {s.id: s.health.healthy for s in services.services}["etcd"]
        [members] = (await client.call("EtcdMemberList", talos.EtcdMemberListRequest())).messages
        assert [list(m.peer_urls) for m in members.members] == [[f"https://{CONTROL_PLANE}:2380"]]
        again = client.call("Bootstrap", talos.BootstrapRequest())
        assert await code_of(again) == StatusCode.ALREADY_EXISTS
    async with connect(WORKER) as client:
        refused = client.call("Bootstrap", talos.BootstrapRequest())
        assert await code_of(refused) == StatusCode.UNIMPLEMENTED


async def test_maintenance_authorizes_only_some_calls(
    connect: Connect, proxmox: ProxmoxClient
) -> None:
    await proxmox.boot_machine(101, CONTROL_PLANE)
    async with connect(CONTROL_PLANE, insecure=True) as client:
        early = client.call("Bootstrap", talos.BootstrapRequest())
        assert await code_of(early) == StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError, match="not authorized"):
            [part async for part in client.stream("Kubeconfig")]
        for name in ("EtcdMemberList", "EtcdStatus"):
            assert await code_of(client.call(name)) == StatusCode.UNIMPLEMENTED
        for name in ("Memory", "ServiceList", "Version"):
            await client.call(name)


async def test_an_etcd_that_never_started_has_no_certificate(
    connect: Connect, cluster: None
) -> None:
    async with connect(CONTROL_PLANE) as client:
        for name in ("EtcdMemberList", "EtcdStatus", "EtcdAlarmList", "EtcdLeaveCluster"):
            with pytest.raises(grpc.aio.AioRpcError, match="etcd/admin.crt: no such file") as found:
                await client.call(name)
            assert found.value.code() == StatusCode.UNKNOWN


async def test_the_last_member_of_etcd_does_not_leave(connect: Connect, cluster: None) -> None:
    async with connect(CONTROL_PLANE) as client:
        await client.call("Bootstrap", talos.BootstrapRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="not enough started members"):
            await client.call("EtcdLeaveCluster")


async def test_the_name_of_a_machine_in_maintenance_is_that_of_its_vm(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    await proxmox.boot_machine(101, CONTROL_PLANE)
    assert rack.machines[CONTROL_PLANE].hostname == rack.machines[CONTROL_PLANE].guest.name != ""


async def test_a_second_control_plane_joins_etcd(
    rack: Rack,
    connect: Connect,
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
    cluster: None,
) -> None:
    async with connect(CONTROL_PLANE) as client:
        await client.call("Bootstrap", talos.BootstrapRequest())
        await proxmox.boot_machine(102, "127.77.3.12")
        await apply("127.77.3.12", secrets.config("controlplane", "cp2", vip=VIP))
        [members] = (await client.call("EtcdMemberList", talos.EtcdMemberListRequest())).messages
    assert [member.hostname for member in members.members] == ["cp1", "cp2"]


async def test_a_control_plane_that_was_configured_first_joins_at_bootstrap(
    connect: Connect,
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
    cluster: None,
) -> None:
    await proxmox.boot_machine(102, "127.77.3.12")
    await apply("127.77.3.12", secrets.config("controlplane", "cp2", vip=VIP))
    async with connect(CONTROL_PLANE) as client:
        await client.call("Bootstrap", talos.BootstrapRequest())
        nodes = [CONTROL_PLANE, "127.77.3.12"]
        request = talos.EtcdMemberListRequest()
        both = (await client.call("EtcdMemberList", request, nodes=nodes)).messages
    assert [len(answer.members) for answer in both] == [2, 2]


async def test_a_cluster_can_be_made_again_with_the_same_secrets(
    rack: Rack,
    connect: Connect,
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
    cluster: None,
) -> None:
    async with connect(CONTROL_PLANE) as client:
        await client.call("Bootstrap", talos.BootstrapRequest())
    [first] = rack.talos.live_clusters()
    await proxmox.vm(101, "POST", "status/stop")
    assert not rack.talos.live_clusters()
    await proxmox.call("DELETE", "/nodes/pve/qemu/101/", purge=1)
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP))
    async with connect(CONTROL_PLANE) as client:
        await client.call("Bootstrap", talos.BootstrapRequest())
    [second] = rack.talos.live_clusters()
    assert first.id != second.id


async def test_kubeconfig_carries_an_administrators_certificate(
    connect: Connect, secrets: ClusterSecrets, cluster: None
) -> None:
    async with connect(CONTROL_PLANE) as client:
        data = b"".join([message.bytes async for message in client.stream("Kubeconfig")])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        file = tar.extractfile("kubeconfig")
        assert file is not None
        kubeconfig = yaml.safe_load(file)
    assert kubeconfig["current-context"] == "admin@castle"
    server = kubeconfig["clusters"][0]["cluster"]
    assert server["server"] == f"https://{VIP}:6443"
    assert base64.b64decode(server["certificate-authority-data"]) == secrets.cluster_ca.pem


async def test_several_nodes_answer_with_one_message_each(connect: Connect, cluster: None) -> None:
    nodes = [CONTROL_PLANE, WORKER, "127.77.3.99"]
    async with connect(CONTROL_PLANE) as client:
        messages = (await client.call("Version", nodes=nodes)).messages
        assert [m.metadata.hostname for m in messages] == nodes
        assert [bool(m.metadata.error) for m in messages] == [False, False, True]
    async with connect(WORKER) as client:
        refused = client.call("Version", node=CONTROL_PLANE)
        assert await code_of(refused) == StatusCode.PERMISSION_DENIED


async def test_resources_that_a_health_check_reads(connect: Connect, cluster: None) -> None:
    async with connect(CONTROL_PLANE) as client:
        request = cosi.ListRequest(namespace="runtime", type="Disks.block.talos.dev")
        listed = [m.resource async for m in client.stream("List", request)]
        assert [resource.metadata.id for resource in listed] == ["sda", "sdb"]
        volume = cosi.GetRequest(
            namespace="runtime", type="VolumeStatuses.block.talos.dev", id="EPHEMERAL"
        )
        spec = (await client.call("Get", volume)).resource.spec.proto_spec
        assert talos.VolumeStatus.FromString(spec).size > 3932 * 1024**2
        volume.id = "nothing"
        assert await code_of(client.call("Get", volume)) == StatusCode.NOT_FOUND
        watch = cosi.WatchRequest(
            namespace="runtime", type="MachineStatuses.runtime.talos.dev", id="machine"
        )
        stream = client.stream("Watch", watch)
        assert not (await anext(stream)).event
        [event] = (await anext(stream)).event
        status = talos.MachineStatus.FromString(event.resource.spec.proto_spec)
        assert status.stage == 4
        await stream.aclose()  # type: ignore[attr-defined]


async def test_reset_tells_and_then_wipes(rack: Rack, connect: Connect, cluster: None) -> None:
    async with connect(CONTROL_PLANE) as client:
        await client.call("Reset", talos.ResetRequest(graceful=False, reboot=False))
        events = client.stream("Events", talos.EventsRequest())
        assert not (await anext(events)).HasField("data")
        event = (await anext(events)).data
        assert event.type_url == "talos/runtime/machine.TaskEvent"
        assert talos.TaskEvent.FromString(event.value).task == "stopAllServices"
    async with asyncio.timeout(5):
        while rack.vms[101].running:  # the rack has no event to wait for
            await asyncio.sleep(0.05)
    assert CONTROL_PLANE not in rack.machines


async def test_the_agent_speaks_only_when_it_is_installed_and_configured(
    rack: Rack, proxmox: ProxmoxClient, cluster: None
) -> None:
    with pytest.raises(RefusedError, match="QEMU guest agent is not running"):
        await proxmox.vm(101, "GET", "agent/network-get-interfaces")
    rack.machines[CONTROL_PLANE].extensions = ("siderolabs/qemu-guest-agent",)
    [_, eth0] = (await proxmox.vm(101, "GET", "agent/network-get-interfaces"))["result"]
    addresses = [address["ip-address"] for address in eth0["ip-addresses"]]
    assert addresses == [CONTROL_PLANE, "192.0.2.102"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a: [", "failed to parse config"),
        (b"machine: {type: worker}", "issuing CA is required"),
        (b"kind: HostnameConfig", "machine instructions are required"),
    ],
)
async def test_what_is_no_configuration_is_refused(
    proxmox: ProxmoxClient,
    apply: Apply,
    data: bytes,
    problem: str,
) -> None:
    await proxmox.boot_machine(201, WORKER)
    with pytest.raises(grpc.aio.AioRpcError, match=problem) as refused:
        await apply(WORKER, data)
    assert refused.value.code() == StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"vip": VIP}, "is not allowed on non-controlplane nodes"),
        ({"selector": "disk.size > 900u * GiB"}, "no disks matched"),
        ({"selector": "disk.colour == 'red'"}, "cannot evaluate"),
    ],
)
async def test_configurations_that_a_worker_refuses(
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
    options: dict[str, Any],
    problem: str,
) -> None:
    await proxmox.boot_machine(201, WORKER)
    with pytest.raises(grpc.aio.AioRpcError, match=problem):
        await apply(WORKER, secrets.config("worker", "worker1", **options))


async def test_a_shared_address_that_a_machine_has_is_refused(
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
) -> None:
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await proxmox.boot_machine(201, WORKER)
    for taken in (CONTROL_PLANE, WORKER):
        with pytest.raises(grpc.aio.AioRpcError, match=taken):
            await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=taken))


async def test_reset_of_the_rack_empties_it_and_keeps_its_endpoints(
    rack: Rack, proxmox: ProxmoxClient, cluster: None
) -> None:
    endpoints = rack.endpoint, rack.factory_url, rack.api_token
    await rack.reset()
    assert (rack.endpoint, rack.factory_url, rack.api_token) == endpoints
    assert not rack.machines
    assert await proxmox.call("GET", "/cluster/resources", type="vm") == []
    assert len(rack.requests) == 1


async def test_talosctl_is_asked_where_it_is_installed(
    proxmox: ProxmoxClient,
    apply: Apply,
    secrets: ClusterSecrets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "talosctl"
    program.write_text('#!/bin/sh\necho "not with: $*"\nexit 1\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    await proxmox.boot_machine(201, WORKER)
    with pytest.raises(grpc.aio.AioRpcError, match="not with: validate --mode cloud --config"):
        await apply(WORKER, secrets.config("worker", "worker1"))
