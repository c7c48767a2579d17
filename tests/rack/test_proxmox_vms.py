"""The life of a VM on the simulated Proxmox VE."""

from __future__ import annotations

import pytest

from tests.e2e.rack.faults import Fault
from tests.e2e.rack.rack import Rack

from .proxmox_client import ProxmoxClient, RefusedError

ADDRESS = "127.77.1.11"


async def test_configuration_is_kept_as_the_provider_expects_to_read_it(
    proxmox: ProxmoxClient,
) -> None:
    await proxmox.create_vm(
        101,
        ADDRESS,
        cores=2,
        onboot=1,
        bios="ovmf",
        tags="k8s;talos",
        efidisk0="file=local-lvm:1,format=raw,efitype=4m,pre-enrolled-keys=0",
    )
    await proxmox.vm(101, "PUT", "resize", disk="scsi0", size=10737418240)
    config = await proxmox.vm(101, "GET", "config")
    assert config["efidisk0"] == ("local-lvm:vm-101-disk-0,efitype=4m,pre-enrolled-keys=0,size=4M")
    assert config["ide2"] == "local-lvm:vm-101-cloudinit,media=cdrom"
    assert config["ide3"] == "none,media=cdrom"
    assert config["net0"] == "virtio=BC:24:11:00:00:65,bridge=vmbr0,firewall=0"
    assert config["scsi0"] == "local-lvm:vm-101-disk-1,size=10G,ssd=1"
    assert config["scsi1"] == "local-lvm:vm-101-disk-2,serial=longhorn,size=43G"
    assert config["memory"] == "4096"
    assert (config["cores"], config["onboot"]) == (2, 1)
    assert "pool" not in config


async def test_disks_that_are_sent_again_keep_their_size(proxmox: ProxmoxClient) -> None:
    await proxmox.create_vm(101, ADDRESS)
    scsi1 = "file=local-lvm:vm-101-disk-1,aio=io_uring,format=raw,serial=longhorn"
    await proxmox.vm(101, "PUT", "config", scsi1=scsi1, delete="agent")
    config = await proxmox.vm(101, "GET", "config")
    expected = "local-lvm:vm-101-disk-1,aio=io_uring,format=raw,serial=longhorn,size=43G"
    assert config["scsi1"] == expected
    assert "agent" not in config


async def test_a_removed_disk_stays_on_its_storage_until_the_vm_is_deleted(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    await proxmox.create_vm(101, ADDRESS)
    await proxmox.vm(101, "PUT", "config", delete="scsi1")
    config = await proxmox.vm(101, "GET", "config")
    assert config["unused0"] == "local-lvm:vm-101-disk-1"
    await proxmox.call("DELETE", "/nodes/pve/qemu/101/")
    volumes = rack.proxmox.cluster.node("pve").storage("local-lvm").volumes
    assert volumes == {}


@pytest.mark.parametrize("asked", [0, 1])
async def test_a_disk_that_no_configuration_names_goes_on_request_only(
    rack: Rack, proxmox: ProxmoxClient, asked: int
) -> None:
    await proxmox.create_vm(101, ADDRESS)
    del rack.vms[101].config["scsi1"]
    query = {"purge": 1, "destroy-unreferenced-disks": asked}
    await proxmox.call("DELETE", "/nodes/pve/qemu/101/", **query)
    volumes = rack.proxmox.cluster.node("pve").storage("local-lvm").volumes
    assert list(volumes) == ([] if asked else ["local-lvm:vm-101-disk-1"])


async def test_start_stop_and_delete(proxmox: ProxmoxClient) -> None:
    await proxmox.boot_machine(101, ADDRESS)
    assert (await proxmox.vm(101, "GET", "status/current"))["status"] == "running"
    with pytest.raises(RefusedError, match="already running"):
        await proxmox.vm(101, "POST", "status/start")
    with pytest.raises(RefusedError, match="is running"):
        await proxmox.call("DELETE", "/nodes/pve/qemu/101/")
    await proxmox.vm(101, "POST", "status/stop")
    await proxmox.call("DELETE", "/nodes/pve/qemu/101/", purge=1)
    with pytest.raises(RefusedError, match=r"nodes/pve/qemu-server/101\.conf' does not exist"):
        await proxmox.vm(101, "GET", "status/current")


async def test_everything_that_takes_an_id_is_listed(rack: Rack, proxmox: ProxmoxClient) -> None:
    rack.proxmox.cluster.add_foreign(200, node="pve", kind="lxc", config={"name": "dns"})
    await proxmox.create_vm(101, ADDRESS, tags="k8s", template=1)
    rack.proxmox.cluster.report_s = 0
    resources = await proxmox.call("GET", "/cluster/resources", type="vm")
    assert [(r["type"], r["vmid"], r["name"], r["node"]) for r in resources] == [
        ("lxc", 200, "dns", "pve"),
        ("qemu", 101, "vm101", "pve"),
    ]
    assert (resources[1]["tags"], resources[1]["template"]) == ("k8s", 1)
    assert await proxmox.call("GET", "/cluster/nextid") == "100"


async def test_a_new_vm_has_no_name_and_no_status_until_its_host_reports(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    async def listed() -> tuple[object, ...]:
        [guest] = await proxmox.call("GET", "/cluster/resources", type="vm")
        return guest.get("name"), guest["status"], guest["tags"]

    await proxmox.create_vm(101, ADDRESS, tags="k8s")
    assert await listed() == (None, "unknown", "k8s")
    rack.proxmox.cluster.report_s = 0
    assert await listed() == ("vm101", "stopped", "k8s")
    rack.proxmox.cluster.report_s = 10
    # An id that is used again shows the name of the deleted VM.
    await proxmox.call("DELETE", "/nodes/pve/qemu/101")
    await proxmox.create_vm(101, ADDRESS, tags="new", name="other")
    assert await listed() == ("vm101", "stopped", "new")


async def test_a_silent_host_answers_nothing_and_its_guests_lose_their_names() -> None:
    async with Rack(["pve", "pve2"]) as rack:
        proxmox = ProxmoxClient.of(rack)
        rack.proxmox.cluster.add_foreign(200, node="pve2", config={"name": "nas", "tags": "a"})
        [guest] = await proxmox.call("GET", "/cluster/resources", type="vm")
        assert (guest["name"], guest["status"]) == ("nas", "running")
        rack.proxmox.cluster.node("pve2").online = False
        [guest] = await proxmox.call("GET", "/cluster/resources", type="vm")
        assert (guest.get("name"), guest["status"], guest["tags"]) == (None, "unknown", "a")
        with pytest.raises(RefusedError) as refused:
            await proxmox.call("GET", "/nodes/pve2/qemu/200/config")
        assert (refused.value.status, refused.value.reason) == (595, "No route to host")


async def test_an_id_that_is_taken_anywhere_is_refused(rack: Rack, proxmox: ProxmoxClient) -> None:
    rack.proxmox.cluster.add_foreign(101, node="pve", kind="lxc")
    with pytest.raises(RefusedError, match="VM 101 already exists on node 'pve'"):
        await proxmox.create_vm(101, ADDRESS)


async def refused(proxmox: ProxmoxClient, method: str, path: str, **form: object) -> RefusedError:
    """How a request for VM 101 fails: status 0 if its task does."""
    with pytest.raises(RefusedError) as raised:
        await proxmox.vm(101, method, path, **form)
    return raised.value


async def test_a_locked_vm_is_left_alone(rack: Rack, proxmox: ProxmoxClient) -> None:
    await proxmox.boot_machine(101, ADDRESS)
    rack.vms[101].lock = "backup"
    for action in ("stop", "shutdown", "reboot"):
        error = await refused(proxmox, "POST", f"status/{action}")
        assert (error.status, error.reason) == (0, "VM is locked (backup)")
    error = await refused(proxmox, "PUT", "resize", disk="scsi0", size=11 * 1024**3)
    assert (error.status, error.reason) == (0, "VM is locked (backup)")
    for path in ("config", "cloudinit"):
        error = await refused(proxmox, "PUT", path)
        assert (error.status, error.reason) == (500, "VM is locked (backup)")
    await proxmox.vm(101, "POST", "status/start")
    assert rack.vms[101].running


@pytest.mark.parametrize(
    ("disk", "size", "reason"),
    [
        ("scsi0", 1024**3, "shrinking disks is not supported"),
        ("scsi9", 1024**3, "disk 'scsi9' does not exist"),
    ],
)
async def test_a_resize_that_cannot_be_done_fails_in_its_task(
    proxmox: ProxmoxClient, disk: str, size: int, reason: str
) -> None:
    await proxmox.create_vm(101, ADDRESS)
    error = await refused(proxmox, "PUT", "resize", disk=disk, size=size)
    assert (error.status, error.reason) == (0, reason)


async def test_a_deaf_guest_stays_on_unless_it_is_forced(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    await proxmox.boot_machine(101, ADDRESS)
    rack.talos.hand.deaf.add(ADDRESS)
    for action in ("shutdown", "reboot"):
        error = await refused(proxmox, "POST", f"status/{action}")
        assert (error.status, error.reason) == (0, "VM quit/powerdown failed - got timeout")
        assert rack.vms[101].running
    await proxmox.vm(101, "POST", "status/shutdown", forceStop=1)
    assert not rack.vms[101].running
    error = await refused(proxmox, "POST", "status/reboot")
    assert (error.status, error.reason) == (500, "VM 101 not running")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (
            {"scsi0": "file=local-lvm:0,import-from=local:import/gone.qcow2"},
            "unable to create VM 101 - failed to stat '/var/lib/vz/import/gone.qcow2'",
        ),
        (
            {"scsi1": "file=local-lvm:vm-108000-disk-7"},
            "unable to create VM 101 - no such logical volume pve/vm-108000-disk-7",
        ),
    ],
)
async def test_a_vm_without_its_sources_fails_in_the_task_and_leaves_nothing(
    rack: Rack, proxmox: ProxmoxClient, parameters: dict[str, object], reason: str
) -> None:
    with pytest.raises(RefusedError) as raised:
        await proxmox.create_vm(101, ADDRESS, **parameters)
    assert (raised.value.status, raised.value.reason) == (0, reason)
    assert not rack.vms
    assert not rack.proxmox.cluster.node("pve").storage("local-lvm").volumes


async def test_a_pool_that_does_not_exist_is_forbidden(proxmox: ProxmoxClient) -> None:
    with pytest.raises(RefusedError, match=r"403 .*\(pool 'nopool' does not exist\)"):
        await proxmox.create_vm(101, ADDRESS, pool="nopool")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (
            {"net0": "model=virtio,bridge=vmbr7"},
            "start failed: QEMU exited with code 1",
        ),
        ({"cores": 17}, "MAX 16 vcpus allowed per VM on this node"),
    ],
)
async def test_hardware_that_the_host_does_not_have_fails_at_the_start(
    proxmox: ProxmoxClient, parameters: dict[str, object], reason: str
) -> None:
    await proxmox.create_vm(101, ADDRESS, **parameters)
    error = await refused(proxmox, "POST", "status/start")
    assert (error.status, error.reason) == (0, reason)


async def test_a_vm_without_a_boot_order_boots_from_its_first_disk(proxmox: ProxmoxClient) -> None:
    await proxmox.call("POST", "/nodes/pve/qemu", vmid=101, scsi0="local-lvm:1", name="a")
    assert (await proxmox.vm(101, "GET", "config"))["boot"] == "order=scsi0"


async def test_a_vm_moves_with_its_disks_to_another_host() -> None:
    async with Rack(["pve", "pve2"]) as rack:
        proxmox = ProxmoxClient.of(rack)
        await proxmox.call("POST", "/nodes/pve/qemu", vmid=101, scsi0="local-lvm:1", name="a")
        error = await refused(proxmox, "POST", "migrate", target="pve")
        assert (error.status, error.errors) == (400, {"target": "target is local node."})
        error = await refused(proxmox, "POST", "migrate", target="pve3")
        assert (error.status, error.reason) == (500, "no such cluster node 'pve3'")
        await proxmox.vm(101, "POST", "migrate", target="pve2")
        [moved] = await proxmox.call("GET", "/nodes/pve2/qemu")
        assert moved["vmid"] == 101
        volumes = [
            rack.proxmox.cluster.node(it).storage("local-lvm").volumes for it in ("pve", "pve2")
        ]
        assert [list(it) for it in volumes] == [[], ["local-lvm:vm-101-disk-0"]]


@pytest.mark.parametrize(
    ("version", "privilege"),
    [
        ("8.4.21", "VM.Monitor"),
        ("9.2.11", "VM.GuestAgent.Audit"),
        ("9.2.11", "VM.GuestAgent.Unrestricted"),
    ],
)
async def test_the_guest_agent_needs_a_privilege(
    rack: Rack, proxmox: ProxmoxClient, version: str, privilege: str
) -> None:
    rack.proxmox.cluster.node("pve").version = version
    await proxmox.boot_machine(101, ADDRESS)
    rack.proxmox.access.roles["Administrator"] = frozenset({privilege})
    # In maintenance mode no agent runs.
    error = await refused(proxmox, "POST", "agent/ping")
    assert (error.status, error.reason) == (500, "QEMU guest agent is not running")
    rack.proxmox.access.roles["Administrator"] = frozenset({"VM.Audit"})
    for method, path in (("POST", "agent/ping"), ("GET", "agent/network-get-interfaces")):
        assert (await refused(proxmox, method, path)).status == 403


async def test_the_cloud_init_settings_can_be_read(proxmox: ProxmoxClient) -> None:
    await proxmox.create_vm(101, ADDRESS)
    [entry] = await proxmox.vm(101, "GET", "cloudinit")
    assert entry == {"key": "ipconfig0", "value": f"gw=127.0.0.1,ip={ADDRESS}/24"}


async def test_unknown_parameters_and_bad_names_are_refused(proxmox: ProxmoxClient) -> None:
    with pytest.raises(RefusedError) as refused:
        await proxmox.create_vm(101, ADDRESS, colour="red")
    assert refused.value.status == 400
    assert "not defined in schema" in refused.value.errors["colour"]
    with pytest.raises(RefusedError) as refused:
        await proxmox.create_vm(101, ADDRESS, name="a_b")
    assert "valid DNS name" in refused.value.errors["name"]


async def test_a_pool_is_found_by_its_members(proxmox: ProxmoxClient) -> None:
    await proxmox.call("POST", "/pools", poolid="castle", comment="ours")
    await proxmox.create_vm(101, ADDRESS, pool="castle")
    [pool] = await proxmox.call("GET", "/pools", poolid="castle")
    assert [member["vmid"] for member in pool["members"]] == [101]
    with pytest.raises(RefusedError, match=r"is not empty \(contains VM 101\)"):
        await proxmox.call("DELETE", "/pools", poolid="castle")
    await proxmox.call("DELETE", "/nodes/pve/qemu/101")
    await proxmox.call("DELETE", "/pools", poolid="castle")
    assert await proxmox.call("GET", "/pools") == []


async def test_a_task_can_take_a_few_polls(rack: Rack, proxmox: ProxmoxClient) -> None:
    rack.proxmox.tasks.polls_to_finish = 2
    await proxmox.create_vm(101, ADDRESS)
    polls = [r for r in rack.requests.of("proxmox", "GET") if "qmcreate" in r.path]
    assert len(polls) == 3


async def test_a_fault_strikes_as_often_as_it_was_ordered(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    rack.faults.append(Fault(method="POST", path="/nodes/[^/]+/qemu", reason="got timeout"))
    with pytest.raises(RefusedError, match="got timeout"):
        await proxmox.create_vm(101, ADDRESS)
    await proxmox.create_vm(101, ADDRESS)
