"""Talos: what its provider is asked for, and in which order."""

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
from rehearsal.run import rehearse
from settings import resource_types
from settings.models import Settings
from settings.running import RunningMachine, RunningStack
from tests.backup.archives import KEY, RECIPIENT
from tests.invariants.documents import configs, main, of_kind
from tests.recorder import one, record, sent, settings_with


@pytest.fixture(scope="module")
def recording() -> Recording:
    return rehearse("homelab").recording


@functools.cache
def documents(address: str) -> list[Document]:
    received = configs(rehearse("homelab").recording)
    (found,) = [docs for apply, docs in received if apply.plain("node") == address]
    return found


CONTROL_PLANE, WORKER = "192.168.1.253", "192.168.1.155"


def machine(address: str) -> dict[str, Any]:
    found: dict[str, Any] = main(documents(address))["machine"]
    return found


def test_one_configuration_a_role_however_many_nodes(recording: Recording) -> None:
    calls = [call.args for call in recording.invokes if "machine/getConfiguration" in call.token]
    assert sorted(str(args["machineType"]) for args in calls) == ["controlplane", "worker"]
    for args in calls:
        assert args["clusterEndpoint"] == "https://192.168.1.250:6443"
        assert args["talosVersion"] == "v1.13.9"
        assert args["kubernetesVersion"] == "v1.36.3"
        assert (args["docs"], args["examples"]) == (False, False)


def test_only_the_control_plane_carries_the_vip() -> None:
    (interface,) = machine(CONTROL_PLANE)["network"]["interfaces"]
    assert interface["vip"] == {"ip": "192.168.1.250"}
    (interface,) = machine(WORKER)["network"]["interfaces"]
    assert "vip" not in interface


def test_a_node_keeps_its_declared_address_without_the_nocloud_drive() -> None:
    (interface,) = machine(WORKER)["network"]["interfaces"]
    assert interface["addresses"] == ["192.168.1.155/24"]
    assert interface["dhcp"] is False
    assert interface["routes"] == [{"network": "0.0.0.0/0", "gateway": "192.168.1.1"}]
    assert machine(WORKER)["kubelet"]["nodeIP"] == {"validSubnets": ["192.168.1.155/32"]}


def test_a_node_is_called_what_its_machine_is_called() -> None:
    (hostname,) = of_kind(documents(WORKER), "HostnameConfig")
    assert hostname["hostname"] == "castle-worker-1"
    assert hostname["auto"] == "off"


def test_a_worker_has_its_data_disk_for_longhorn() -> None:
    (volume,) = of_kind(documents(WORKER), "UserVolumeConfig")
    assert volume["name"] == "longhorn"
    assert volume["filesystem"] == {"type": "xfs"}
    match = volume["provisioning"]["diskSelector"]["match"]
    assert match == "!system_disk && disk.size >= 43u * GiB && disk.size < 44u * GiB"
    assert machine(WORKER)["nodeLabels"]["node.longhorn.io/create-default-disk"] == "true"


def test_longhorn_stores_where_talos_mounts_the_data_disk(recording: Recording) -> None:
    """Pods see the host's mounts, not the kubelet's: a bind of ours hides where the data lies."""
    values = sent(one(recording, "longhorn-release"))["values"]
    (volume,) = of_kind(documents(WORKER), "UserVolumeConfig")
    assert values["defaultSettings"]["defaultDataPath"] == f"/var/mnt/{volume['name']}"
    for name in (WORKER, CONTROL_PLANE):
        assert "extraMounts" not in machine(name)["kubelet"]


def test_the_zone_of_a_node_is_its_proxmox_host() -> None:
    recording = rehearse("ha").recording
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


def test_a_control_plane_without_a_data_disk_stores_nothing() -> None:
    assert not of_kind(documents(CONTROL_PLANE), "UserVolumeConfig")
    assert "node.longhorn.io/create-default-disk" not in machine(CONTROL_PLANE)["nodeLabels"]


def test_the_selector_grows_with_the_disk() -> None:
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


def test_a_config_comes_and_goes_with_its_machine(recording: Recording) -> None:
    vm = one(recording, "machines-castle-worker-2").urn
    config = one(recording, "cluster-castle-worker-2-config")
    assert config.deleted_with == vm
    assert config.replace_with == (vm,)
    assert vm in config.dependencies


def test_the_engine_takes_one_node_at_a_time_control_planes_first() -> None:
    recording = rehearse("ha").recording
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


def test_operations_do_not_wait_for_readiness_and_go_with_the_stack(recording: Recording) -> None:
    """A dead cluster must not stand in the way of its own repair, or of a destroy."""
    gates = {gate.urn for gate in recording.of_type(resource_types.READY, resource_types.BOOTSTRAP)}
    for part in recording.of_type(
        resource_types.SNAPSHOT, resource_types.NODE, resource_types.KUBERNETES_VERSION
    ):
        assert not recording.before(part) & gates
        assert part.deleted_with == one(recording, "cluster-secrets").urn
    (readiness,) = recording.of_type(resource_types.READY)
    assert readiness.deleted_with == one(recording, "cluster-secrets").urn


def test_a_node_leaves_before_its_machine_goes(recording: Recording) -> None:
    node = one(recording, "cluster-castle-worker-2")
    assert one(recording, "machines-castle-worker-2").urn in node.dependencies


def test_the_bootstrap_waits_for_no_worker(recording: Recording) -> None:
    before = recording.before(one(recording, "cluster-bootstrap"))
    assert one(recording, "cluster-castle-control-plane-1-config").urn in before
    assert one(recording, "cluster-castle-worker-1-config").urn not in before


def test_the_provider_waits_for_the_gates_but_its_kubeconfig_does_not(recording: Recording) -> None:
    provider = one(recording, "kubernetes")
    (readiness,) = recording.of_type(resource_types.READY)
    assert len(readiness.plain("nodes")) == 4
    assert readiness.urn in provider.dependencies
    assert readiness.urn not in provider.property_dependencies["kubeconfig"]
    assert provider.plain("clusterIdentifier") == "ephemeral-castle-homelab"


def test_secrets_are_secret_on_the_way_and_in_the_outputs(recording: Recording) -> None:
    assert one(recording, "cluster-castle-worker-1-config").is_secret("machineConfigurationInput")
    assert one(recording, "kubernetes").is_secret("kubeconfig")
    assert one(recording, "cluster-readiness").is_secret("credentials")
    assert one(recording, "cluster-castle-worker-1").is_secret("credentials")
    assert one(recording, "cluster-castle-worker-1").is_secret("configuration")
    assert repr(recording.outputs["kubeconfig"]) == "[secret]"
    assert repr(recording.outputs["talosconfig"]) == "[secret]"


def test_talosconfig_names_control_planes_and_never_the_vip() -> None:
    (call,) = [c for c in rehearse("ha").recording.invokes if "client/getConfiguration" in c.token]
    assert call.args["endpoints"] == ["192.168.1.231", "192.168.1.232", "192.168.1.233"]
    assert "192.168.1.230" not in call.args["nodes"]


def test_without_workers_control_planes_do_the_work() -> None:
    alone = settings_with(
        nodes={"workers": {"count": 0}, "control_planes": {"data_disk_gib": 43}},
        longhorn={"replicas": 1},
    )
    patch = role_patch("installer", alone.machines)
    assert patch["cluster"] == {"allowSchedulingOnControlPlanes": True}
    assert "cluster" not in role_patch("installer", settings_with().machines)


def cluster_of(settings: Settings, states: dict[str, MachineState] | None = None) -> Recording:
    """The cluster alone, with machines that were seen in these states."""
    machine = proxmoxve.VmLegacy

    def build() -> None:
        machines = {node.name: machine(node.name, node_name="pve") for node in settings.machines}
        args = TalosClusterArgs.of(
            settings, "installer:v1.13.9", machines, ClusterFindings(machine_states=states or {})
        )
        TalosCluster("cluster", args)

    return record(build)


@pytest.mark.parametrize("state", ["gone", "blank"])
def test_a_machine_that_is_lost_is_removed_from_the_cluster_before_the_others_change(
    state: MachineState,
) -> None:
    """It would hold up their reboots, and etcd would not be healthy enough for a snapshot."""
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


def test_on_the_first_day_all_machines_are_gone_and_none_is_lost() -> None:
    settings = settings_with()
    recording = cluster_of(settings, {node.name: "gone" for node in settings.machines})
    names = [
        it.name
        for it in recording.resources
        if it.type in (resource_types.NODE, resource_types.SNAPSHOT)
    ]
    assert names[0] == "cluster-etcd-snapshot"


def test_whoever_may_take_a_snapshot_encrypts_it_for_the_castles_key() -> None:
    settings = settings_with(sops={"age_key": str(KEY)})
    takers = [
        sent(resource)
        for resource in cluster_of(settings).resources
        if resource.type.rpartition(":")[2] in ("EtcdSnapshot", "NodeLifecycle")
    ]
    assert len(takers) == 1 + len(settings.machines)
    found = [it["cluster"] if isinstance(it["cluster"], dict) else it for it in takers]
    assert {it["age_recipient"] for it in found} == {RECIPIENT}
