"""The Talos cluster: machine configs, inputs of its resources, and their order."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

import pulumi_proxmoxve as proxmoxve
import pytest

from components.talos.args import ClusterFindings
from components.talos.cluster import TalosCluster, TalosClusterArgs
from components.talos.machine_config import data_disk_selector, role_patch
from lifecycle.node import MachineState
from rehearsal.machine_config import Document
from rehearsal.record import Recording
from settings import resource_types
from settings.models import Settings
from settings.running import RunningMachine, RunningStack
from tests.backup.archives import KEY, RECIPIENT
from tests.invariants.documents import configs, main, of_kind
from tests.recorder import one, record, sent, settings_with
from tests.rehearsals import rehearsed_stack


@pytest.fixture(scope="module")
def recording() -> Recording:
    return rehearsed_stack("homelab").recording


@functools.cache
def documents(address: str) -> list[Document]:
    received = configs(rehearsed_stack("homelab").recording)
    (found,) = [docs for apply, docs in received if apply.plain("node") == address]
    return found


CONTROL_PLANE, WORKER = "192.168.1.253", "192.168.1.155"


def machine_section(address: str) -> dict[str, Any]:
    found: dict[str, Any] = main(documents(address))["machine"]
    return found


def test_the_machine_config_is_rendered_once_for_each_role(recording: Recording) -> None:
    calls = [call.args for call in recording.invokes if "machine/getConfiguration" in call.token]
    assert sorted(str(args["machineType"]) for args in calls) == ["controlplane", "worker"]
    for args in calls:
        assert args["clusterEndpoint"] == "https://192.168.1.250:6443"
        assert args["talosVersion"] == "v1.13.9"
        assert args["kubernetesVersion"] == "v1.36.3"
        assert (args["docs"], args["examples"]) == (False, False)


def test_only_control_planes_have_the_vip() -> None:
    (interface,) = machine_section(CONTROL_PLANE)["network"]["interfaces"]
    assert interface["vip"] == {"ip": "192.168.1.250"}
    (interface,) = machine_section(WORKER)["network"]["interfaces"]
    assert "vip" not in interface


def test_the_machine_config_contains_the_static_address() -> None:
    (interface,) = machine_section(WORKER)["network"]["interfaces"]
    assert interface["addresses"] == ["192.168.1.155/24"]
    assert interface["dhcp"] is False
    assert interface["routes"] == [{"network": "0.0.0.0/0", "gateway": "192.168.1.1"}]
    assert machine_section(WORKER)["kubelet"]["nodeIP"] == {"validSubnets": ["192.168.1.155/32"]}


def test_the_hostname_of_a_node_is_the_name_of_its_vm() -> None:
    (hostname,) = of_kind(documents(WORKER), "HostnameConfig")
    assert hostname["hostname"] == "castle-worker-1"
    assert hostname["auto"] == "off"


def test_a_worker_has_a_user_volume_and_a_label_for_longhorn() -> None:
    (volume,) = of_kind(documents(WORKER), "UserVolumeConfig")
    assert volume["name"] == "longhorn"
    assert volume["filesystem"] == {"type": "xfs"}
    match = volume["provisioning"]["diskSelector"]["match"]
    assert match == "!system_disk && disk.size >= 43u * GiB && disk.size < 44u * GiB"
    assert machine_section(WORKER)["nodeLabels"]["node.longhorn.io/create-default-disk"] == "true"


def test_longhorn_uses_the_path_where_talos_mounts_the_data_disk(recording: Recording) -> None:
    """Pods see mounts of the host, not of the kubelet, so extraMounts would not help."""
    values = sent(one(recording, "longhorn-release"))["values"]
    (volume,) = of_kind(documents(WORKER), "UserVolumeConfig")
    assert values["defaultSettings"]["defaultDataPath"] == f"/var/mnt/{volume['name']}"
    for name in (WORKER, CONTROL_PLANE):
        assert "extraMounts" not in machine_section(name)["kubelet"]


def test_the_zone_of_a_node_is_its_proxmox_host() -> None:
    recording = rehearsed_stack("ha").recording
    hosts = {
        vm.plain("name"): vm.plain("nodeName") for vm in recording.of_type(resource_types.MACHINE)
    }
    zones = {}
    for apply, documents_ in configs(recording):
        (hostname,) = of_kind(documents_, "HostnameConfig")
        labels = main(documents_)["machine"]["nodeLabels"]
        zones[hostname["hostname"]] = labels["topology.kubernetes.io/zone"]
        assert apply.plain("node")
    assert zones == hosts
    assert len(set(zones.values())) == 3


def test_longhorn_does_not_use_a_control_plane_without_a_data_disk() -> None:
    assert not of_kind(documents(CONTROL_PLANE), "UserVolumeConfig")
    labels = machine_section(CONTROL_PLANE)["nodeLabels"]
    assert "node.longhorn.io/create-default-disk" not in labels


def test_the_disk_selector_has_the_size_of_the_disk() -> None:
    assert data_disk_selector(100) == (
        "!system_disk && disk.size >= 100u * GiB && disk.size < 101u * GiB"
    )


def test_timeouts_have_every_field(recording: Recording) -> None:
    apply = sent(one(recording, "cluster-castle-worker-1-config"))
    assert set(apply["timeouts"]) == {"create", "update", "delete"}


def test_a_node_has_three_resources(recording: Recording) -> None:
    own = [it.name for it in recording.resources if "castle-worker-2" in it.name]
    assert sorted(own) == [
        "cluster-castle-worker-2",
        "cluster-castle-worker-2-config",
        "machines-castle-worker-2",
    ]


def test_a_machine_config_is_replaced_and_deleted_with_its_vm(recording: Recording) -> None:
    vm = one(recording, "machines-castle-worker-2").urn
    config = one(recording, "cluster-castle-worker-2-config")
    assert config.deleted_with == vm
    assert config.replace_with == (vm,)
    assert vm in config.dependencies


def test_nodes_are_operated_on_one_at_a_time_control_planes_first() -> None:
    recording = rehearsed_stack("ha").recording
    nodes = list(recording.of_type(resource_types.NODE))
    roles = [node.plain("node")["control_plane"] for node in nodes]
    assert roles == [True] * 3 + [False] * (len(nodes) - 3)
    (snapshot,), (version,) = (
        recording.of_type(resource_types.SNAPSHOT),
        recording.of_type(resource_types.KUBERNETES_VERSION),
    )
    for earlier, later in pairwise([snapshot, *nodes, version]):
        assert earlier.urn in later.dependencies
    by_address = {node.plain("node")["address"]: node for node in nodes}
    for apply in recording.of_type(resource_types.APPLY):
        node = by_address.pop(apply.plain("node"))
        assert {node.urn, version.urn} <= set(apply.dependencies)
    assert not by_address


def test_operations_do_not_wait_for_readiness_and_are_skipped_by_destroy(
    recording: Recording,
) -> None:
    """An unreachable cluster must not block its own repair or a destroy."""
    waits = {it.urn for it in recording.of_type(resource_types.READY, resource_types.BOOTSTRAP)}
    for operation in recording.of_type(
        resource_types.SNAPSHOT, resource_types.NODE, resource_types.KUBERNETES_VERSION
    ):
        assert not recording.before(operation) & waits
        assert operation.deleted_with == one(recording, "cluster-secrets").urn
    (readiness,) = recording.of_type(resource_types.READY)
    assert readiness.deleted_with == one(recording, "cluster-secrets").urn


def test_a_node_is_removed_from_the_cluster_before_its_vm_is_deleted(recording: Recording) -> None:
    node = one(recording, "cluster-castle-worker-2")
    assert one(recording, "machines-castle-worker-2").urn in node.dependencies


def test_the_bootstrap_does_not_wait_for_workers(recording: Recording) -> None:
    before = recording.before(one(recording, "cluster-bootstrap"))
    assert one(recording, "cluster-castle-control-plane-1-config").urn in before
    assert one(recording, "cluster-castle-worker-1-config").urn not in before


def test_the_kubernetes_provider_waits_for_readiness_but_its_kubeconfig_does_not(
    recording: Recording,
) -> None:
    provider = one(recording, "kubernetes")
    (readiness,) = recording.of_type(resource_types.READY)
    assert len(readiness.plain("nodes")) == 4
    assert readiness.urn in provider.dependencies
    assert readiness.urn not in provider.property_dependencies["kubeconfig"]
    assert provider.plain("clusterIdentifier") == "ephemeral-castle-homelab"


def test_credentials_are_secret_in_inputs_and_outputs(recording: Recording) -> None:
    assert one(recording, "cluster-castle-worker-1-config").is_secret("machineConfigurationInput")
    assert one(recording, "kubernetes").is_secret("kubeconfig")
    assert one(recording, "cluster-readiness").is_secret("credentials")
    assert one(recording, "cluster-castle-worker-1").is_secret("credentials")
    assert one(recording, "cluster-castle-worker-1").is_secret("configuration")
    assert repr(recording.outputs["kubeconfig"]) == "[secret]"
    assert repr(recording.outputs["talosconfig"]) == "[secret]"


def test_the_talosconfig_contains_the_control_planes_and_not_the_vip() -> None:
    invokes = rehearsed_stack("ha").recording.invokes
    (call,) = [it for it in invokes if "client/getConfiguration" in it.token]
    assert call.args["endpoints"] == ["192.168.1.231", "192.168.1.232", "192.168.1.233"]
    assert "192.168.1.230" not in call.args["nodes"]


def test_pods_may_run_on_control_planes_if_there_are_no_workers() -> None:
    no_workers = settings_with(
        nodes={"workers": {"count": 0}, "control_planes": {"data_disk_gib": 43}},
        longhorn={"replicas": 1},
    )
    patch = role_patch("installer", no_workers.machines)
    assert patch["cluster"] == {"allowSchedulingOnControlPlanes": True}
    assert "cluster" not in role_patch("installer", settings_with().machines)


def cluster_of(settings: Settings, states: dict[str, MachineState] | None = None) -> Recording:
    """Record only the cluster component, with these states of VMs by node name."""
    create_vm = proxmoxve.VmLegacy

    def build() -> None:
        vms = {node.name: create_vm(node.name, node_name="pve") for node in settings.machines}
        args = TalosClusterArgs.of(
            settings, "installer:v1.13.9", vms, ClusterFindings(machine_states=states or {})
        )
        TalosCluster("cluster", args)

    return record(build)


@pytest.mark.parametrize("state", ["gone", "blank"])
def test_a_lost_node_is_removed_from_the_cluster_before_other_nodes_change(
    state: MachineState,
) -> None:
    """It would block their reboots, and the snapshot because etcd is not healthy."""
    settings = settings_with()
    lost = "castle-worker-2"
    up = {node.name: RunningMachine(name=node.name, has_come_up=True) for node in settings.machines}
    recording = cluster_of(
        settings.with_running(RunningStack(machines=up)),
        {node.name: state if node.name == lost else "" for node in settings.machines},
    )
    names = [
        it.name
        for it in recording.resources
        if it.type in (resource_types.NODE, resource_types.SNAPSHOT)
    ]
    assert names[:2] == [f"cluster-{lost}", "cluster-etcd-snapshot"]
    for before, after in pairwise(names):
        assert one(recording, before).urn in one(recording, after).dependencies


def test_vms_of_a_new_cluster_are_not_lost() -> None:
    settings = settings_with()
    recording = cluster_of(settings, {node.name: "gone" for node in settings.machines})
    names = [
        it.name
        for it in recording.resources
        if it.type in (resource_types.NODE, resource_types.SNAPSHOT)
    ]
    assert names[0] == "cluster-etcd-snapshot"


def test_all_resources_that_take_snapshots_encrypt_them_for_the_age_key() -> None:
    settings = settings_with(sops={"age_key": str(KEY)})
    snapshot_takers = [
        sent(resource)
        for resource in cluster_of(settings).resources
        if resource.type.rpartition(":")[2] in ("EtcdSnapshot", "NodeLifecycle")
    ]
    assert len(snapshot_takers) == 1 + len(settings.machines)
    inputs = [it["cluster"] if isinstance(it["cluster"], dict) else it for it in snapshot_takers]
    assert {it["age_recipient"] for it in inputs} == {RECIPIENT}
