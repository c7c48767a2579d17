"""The VMs: the inputs for the Proxmox provider."""

from __future__ import annotations

from typing import Any

import pytest

from clients.proxmox.guests import mac_address
from components.machines import Machines, MachinesArgs, VmFindings
from rehearsal.record import Recording
from settings.running import RunningMachine, RunningStack
from tests.recorder import one, record, sent, settings_with


def vms_with(**changes: Any) -> Recording:
    settings = settings_with(**changes)
    image_ids = {node.host: "local:import/talos.qcow2" for node in settings.machines}
    return record(lambda: Machines("machines", MachinesArgs.of(settings, image_ids, VmFindings())))


@pytest.fixture(scope="module")
def reference() -> Recording:
    """The VMs of Pulumi.homelab.yaml."""
    return vms_with()


def worker(recording: Recording, number: int = 1) -> dict[str, Any]:
    return sent(one(recording, f"machines-castle-worker-{number}"))


def test_a_worker_has_the_values_of_the_settings(reference: Recording) -> None:
    vm = worker(reference, 3)
    assert vm["name"] == "castle-worker-3"
    assert vm["vmId"] == 8012
    assert vm["nodeName"] == "pve"
    assert vm["cpu"]["cores"] == 4
    assert vm["memory"] == {"dedicated": 8192}
    assert vm["tags"] == ["ephemeral-castle-homelab", "talos", "worker"]
    assert vm["initialization"]["ipConfigs"] == [
        {"ipv4": {"address": "192.168.1.157/24", "gateway": "192.168.1.1"}}
    ]
    assert vm["initialization"]["dns"] == {"servers": ["192.168.1.1"]}


def test_a_worker_has_an_imported_os_disk_and_an_empty_data_disk(reference: Recording) -> None:
    os_disk, data_disk = worker(reference)["disks"]
    assert (os_disk["interface"], os_disk["size"]) == ("scsi0", 34)
    assert os_disk["importFrom"] == "local:import/talos.qcow2"
    assert (data_disk["interface"], data_disk["size"]) == ("scsi1", 43)
    assert "importFrom" not in data_disk


def test_a_control_plane_has_a_data_disk_only_if_it_is_configured(reference: Recording) -> None:
    assert len(sent(one(reference, "machines-castle-control-plane-1"))["disks"]) == 1
    recording = vms_with(nodes={"control_planes": {"data_disk_gib": 50}})
    assert len(sent(one(recording, "machines-castle-control-plane-1"))["disks"]) == 2


def test_a_retained_data_disk_belongs_to_another_vm() -> None:
    overrides = {"worker-1": {"keep_data_disk_on_destroy": True}}
    recording = vms_with(nodes={"overrides": overrides})
    _, data_disk = worker(recording)["disks"]
    assert data_disk["pathInDatastore"] == "vm-108010-disk-0"
    assert "pathInDatastore" not in worker(recording, 2)["disks"][1]
    retained = one(recording, "machines-castle-worker-1-data")
    assert sent(retained)["size_gib"] == 43
    assert retained.urn in one(recording, "machines-castle-worker-1").dependencies


def test_a_new_image_does_not_change_a_running_vm() -> None:
    runs = RunningMachine(name="castle-worker-1", has_come_up=True)
    recording = vms_with(running=RunningStack(machines={runs.name: runs}))
    vm = one(recording, "machines-castle-worker-1")
    assert "disks[0].importFrom" in vm.ignore_changes
    assert not vm.replace_on_changes


def test_what_no_setting_describes_stays_as_somebody_set_it_in_proxmox(
    reference: Recording,
) -> None:
    vm = one(reference, "machines-castle-worker-1")
    assert {"hostpcis", "usbs", "description", "startup", "protection"} <= set(vm.ignore_changes)
    described = set(sent(vm)) - {"description"}
    assert not described & set(vm.ignore_changes)


def test_inputs_that_somebody_extended_at_a_running_vm_stay() -> None:
    names = ("castle-worker-1", "castle-worker-2")
    up = {name: RunningMachine(name=name, has_come_up=True) for name in names}
    settings = settings_with(running=RunningStack(machines=up))
    image_ids = {node.host: "local:import/talos.qcow2" for node in settings.machines}
    kept = {"castle-worker-1": ["networkDevices"], "castle-worker-3": ["networkDevices"]}
    findings = VmFindings(kept_inputs=kept)
    args = MachinesArgs.of(settings, image_ids, findings)
    recording = record(lambda: Machines("machines", args))
    assert "networkDevices" in one(recording, "machines-castle-worker-1").ignore_changes
    assert "networkDevices" not in one(recording, "machines-castle-worker-2").ignore_changes
    # A VM that never came up is replaced, with what the settings describe.
    assert "networkDevices" not in one(recording, "machines-castle-worker-3").ignore_changes


def test_a_change_replaces_a_vm_that_never_came_up(
    reference: Recording,
) -> None:
    vm = one(reference, "machines-castle-worker-1")
    assert "disks[0].importFrom" not in vm.ignore_changes
    assert {"disks", "initialization", "networkDevices"} <= set(vm.replace_on_changes)


def test_control_planes_that_never_came_up_are_replaced_together() -> None:
    """The first one bootstraps a new etcd, and the others would still have the old etcd."""
    nodes = {"control_planes": {"count": 3, "first_address": "192.168.1.251"}}
    names = [f"machines-castle-control-plane-{number}" for number in (1, 2, 3)]
    recording = vms_with(nodes=nodes)
    first = one(recording, names[0])
    assert [one(recording, name).replace_with for name in names] == [(), (first.urn,), (first.urn,)]
    assert one(recording, "machines-castle-worker-1").replace_with == ()
    up = RunningMachine(name="castle-control-plane-1", has_come_up=True)
    recording = vms_with(nodes=nodes, running=RunningStack(machines={up.name: up}))
    assert [one(recording, name).replace_with for name in names] == [(), (), ()]


def test_the_cdrom_drives_use_interfaces_of_the_machine_type_q35(reference: Recording) -> None:
    vm = worker(reference)
    assert vm["machine"] == "q35"
    assert vm["cdrom"] == {"fileId": "none", "interface": "ide0"}
    assert vm["initialization"]["interface"] == "ide2"
    assert vm["bootOrders"] == ["scsi0"]


def test_destroy_stops_a_vm_and_creation_does_not_wait_for_the_guest_agent(
    reference: Recording,
) -> None:
    vm = worker(reference)
    assert vm["stopOnDestroy"] is True
    assert vm["agent"]["waitForIp"] == {"disabled": True}


def test_every_operation_on_a_vm_has_a_timeout(reference: Recording) -> None:
    limits = {key: value for key, value in worker(reference).items() if key.startswith("timeout")}
    assert set(limits) == {
        "timeoutCreate",
        "timeoutMigrate",
        "timeoutReboot",
        "timeoutShutdownVm",
        "timeoutStartVm",
        "timeoutStopVm",
    }
    assert all(0 < limit <= 1800 for limit in limits.values())


def test_vms_do_not_depend_on_each_other(reference: Recording) -> None:
    vms = {r.urn for r in reference.resources if r.type.endswith(":VmLegacy")}
    for vm in reference.of_type("proxmoxve:index/vmLegacy:VmLegacy"):
        assert not reference.before(vm) & vms


def test_the_vms_are_in_the_pool(reference: Recording) -> None:
    assert sent(one(reference, "machines-pool"))["poolId"] == "castle"
    assert worker(reference)["poolId"] == "castle"


def test_no_pool_is_created_if_the_setting_is_empty() -> None:
    recording = vms_with(proxmox={"pool": None})
    assert not list(recording.of_type("proxmoxve:index/poolLegacy:PoolLegacy"))
    assert "poolId" not in worker(recording)


def test_overrides_change_only_their_own_vm() -> None:
    change = {"cores": 8, "memory_mib": 16384, "data_disk_gib": 100, "host": "pve2", "vm_id": 8099}
    recording = vms_with(nodes={"overrides": {"worker-2": change}})
    changed, other = worker(recording, 2), worker(recording, 1)
    assert (changed["cpu"]["cores"], changed["memory"]["dedicated"]) == (8, 16384)
    assert (changed["nodeName"], changed["vmId"]) == ("pve2", 8099)
    assert [disk["size"] for disk in changed["disks"]] == [34, 100]
    assert (other["cpu"]["cores"], other["nodeName"]) == (4, "pve")


def test_a_vlan_tag_is_set_only_if_it_is_configured(reference: Recording) -> None:
    assert "vlanId" not in worker(reference)["networkDevices"][0]
    recording = vms_with(network={"vlan": 20})
    assert worker(recording)["networkDevices"][0]["vlanId"] == 20


def test_mac_addresses_are_stable_local_and_different_for_each_stack_and_vm() -> None:
    mine = mac_address("ephemeral-castle-homelab", 8000)
    assert mine == mac_address("ephemeral-castle-homelab", 8000)
    assert mine.startswith("02:") and len(mine) == 17
    others = {
        mac_address("ephemeral-castle-other", 8000),
        mac_address("ephemeral-castle-homelab", 8001),
    }
    assert mine not in others and len(others) == 2


def test_the_table_has_role_address_id_and_host_of_each_node() -> None:
    tables: list[Any] = []
    settings = settings_with()
    image_ids = {"pve": "local:import/talos.qcow2"}

    def build() -> None:
        machines = Machines("machines", MachinesArgs.of(settings, image_ids, VmFindings()))
        tables.append(machines.table)

    record(build)
    assert tables[0]["castle-worker-1"] == {
        "role": "worker",
        "address": "192.168.1.155",
        "vm_id": 8010,
        "host": "pve",
    }
