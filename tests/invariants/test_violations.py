"""Each invariant finds its violation.

Each case changes one thing in the recording of the reference stack, and names the invariant that
must report it and a part of the message. An invariant without a case fails a test.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from rehearsal import machine_config
from rehearsal.record import Invoke, Recording, Resource
from rehearsal.run import Rehearsal
from tests.invariants import INVARIANTS, Violation, find_violations
from tests.invariants.documents import main, of_kind
from tests.recorder import one

WORKER = "cluster-castle-worker-1-config"
CONTROL_PLANE = "cluster-castle-control-plane-1-config"
VM = "machines-castle-worker-1"
READINESS = "cluster-readiness"
NODE = "cluster-castle-worker-1"
GET_CONFIGURATION = "talos:machine/getConfiguration:getConfiguration"
LONGHORN = "longhorn-release"
VIP = "192.168.1.250"


@dataclass(frozen=True)
class Case:
    """One violation, and the message that it must cause."""

    invariant: str
    break_it: Callable[[Recording], None]
    resource: str
    """Name of the resource that violates the invariant."""
    words: str
    """A part of the message."""
    on_host_network: bool = False
    """Start from the stack with host-network exposure."""
    with_flux: bool = False
    """Start from the stack with Flux."""


CASES: dict[str, Case] = {}


def case(
    invariant: str,
    resource: str,
    words: str,
    *,
    on_host_network: bool = False,
    with_flux: bool = False,
) -> Callable[[Callable[[Recording], None]], Callable[[Recording], None]]:
    """Return a decorator that adds a function to ``CASES``. The function breaks a recording."""

    def add(break_it: Callable[[Recording], None]) -> Callable[[Recording], None]:
        CASES[break_it.__name__] = Case(
            invariant, break_it, resource, words, on_host_network, with_flux
        )
        return break_it

    return add


# Helpers ------------------------------------------------------------------------------------------


def put(resource: Resource, path: str, value: Any) -> None:
    """Set an input at a dotted path; a number is an index in a list."""
    *parts, last = path.split(".")
    holder: Any = resource.inputs
    for part in parts:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    if isinstance(holder, list):
        holder[int(last)] = value
    else:
        holder[last] = value


def drop(resource: Resource, path: str) -> None:
    """Remove an input at a dotted path."""
    *parts, last = path.split(".")
    holder: Any = resource.inputs
    for part in parts:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    del holder[last]


def remove_dependency(resource: Resource, *names: str) -> None:
    """Remove the dependencies whose URNs end with one of the names."""

    def others(urns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(urn for urn in urns if not urn.endswith(names))

    before = (resource.dependencies, dict(resource.property_dependencies))
    resource.dependencies = others(resource.dependencies)
    resource.property_dependencies = {
        name: others(urns) for name, urns in resource.property_dependencies.items()
    }
    assert before != (resource.dependencies, resource.property_dependencies), "nothing was removed"


def edit_config(
    recording: Recording, name: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """Change the v1alpha1 document among the patches of a node's config."""
    _edit(recording, name, "", change)


def edit_document(
    recording: Recording, name: str, kind: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """Change the document of a kind among the patches of a node's config."""
    _edit(recording, name, kind, change)


def _edit(
    recording: Recording, name: str, kind: str, change: Callable[[dict[str, Any]], object]
) -> None:
    resource = one(recording, name)
    documents = [yaml.safe_load(patch) for patch in resource.plain("configPatches")]
    (wanted,) = [document for document in documents if document.get("kind", "") == kind]
    change(wanted)
    put(resource, "configPatches", [yaml.safe_dump(document) for document in documents])


def interface(document: dict[str, Any]) -> dict[str, Any]:
    """The one network interface of a machine config."""
    (found,) = document["machine"]["network"]["interfaces"]
    assert isinstance(found, dict)
    return found


def drop_document(recording: Recording, name: str, kind: str) -> None:
    """Remove the document of a kind from the patches of a node's config."""
    resource = one(recording, name)
    patches = resource.plain("configPatches")
    others = [patch for patch in patches if yaml.safe_load(patch).get("kind") != kind]
    assert len(others) == len(patches) - 1
    put(resource, "configPatches", others)


def invoke_with(recording: Recording, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the arguments of the first call that generates a machine config."""
    index = next(i for i, call in enumerate(recording.invokes) if call.token == GET_CONFIGURATION)
    args = deepcopy(dict(recording.invokes[index].args))
    change(args)
    recording.invokes[index] = Invoke(token=GET_CONFIGURATION, args=args)


# Pulumi -------------------------------------------------------------------------------------------


@case("urns_are_unique", VM, "2 resources have the URN")
def a_vm_is_registered_twice(recording: Recording) -> None:
    recording.resources.append(deepcopy(one(recording, VM)))


@case("every_resource_names_its_provider", "longhorn-release", "has no provider")
def a_release_has_no_provider(recording: Recording) -> None:
    one(recording, "longhorn-release").provider = None


@case("credentials_are_secrets", WORKER, "machineConfigurationInput is in the state")
def a_machine_config_is_not_a_secret(recording: Recording) -> None:
    config = one(recording, WORKER)
    put(config, "machineConfigurationInput", config.plain("machineConfigurationInput"))


@case("credentials_are_secrets", "kubernetes", "kubeconfig is in the state in plain text")
def a_kubeconfig_is_not_a_secret(recording: Recording) -> None:
    put(one(recording, "kubernetes"), "kubeconfig", "apiVersion: v1")


@case("credentials_are_secrets", READINESS, "credentials is in the state in plain text")
def the_key_of_the_readiness_is_not_a_secret(recording: Recording) -> None:
    put(one(recording, READINESS), "credentials", {"client_key": "key"})


@case("credentials_are_secrets", NODE, "credentials is in the state in plain text")
def the_token_of_a_node_is_not_a_secret(recording: Recording) -> None:
    put(one(recording, NODE), "credentials", {"proxmox_token": "token"})


@case("nodes_are_changed_one_at_a_time", NODE, "both may go down at once")
def a_node_does_not_depend_on_the_node_before(recording: Recording) -> None:
    remove_dependency(one(recording, NODE), "::cluster-castle-control-plane-1")


@case("nodes_are_changed_one_at_a_time", WORKER, "may reboot several nodes at the same time")
def a_config_may_reboot_its_node(recording: Recording) -> None:
    put(one(recording, WORKER), "applyMode", "auto")


@case("nodes_are_changed_one_at_a_time", WORKER, "before all nodes are upgraded")
def a_config_has_no_dependencies(recording: Recording) -> None:
    one(recording, WORKER).dependencies = ()


@case("nodes_are_changed_one_at_a_time", VM, "may power-cycle the VM at the same time")
def the_provider_reboots_a_vm(recording: Recording) -> None:
    put(one(recording, VM), "rebootAfterUpdate", True)


@case("credentials_are_secrets", "proxmox", "apiToken is in the state in plain text")
def the_api_token_is_not_a_secret(recording: Recording) -> None:
    put(one(recording, "proxmox"), "apiToken", "token")


@case("credentials_are_secrets", "talosconfig", "this output is shown in plain text")
def an_output_is_not_a_secret(recording: Recording) -> None:
    recording.outputs["talosconfig"] = recording.outputs["talosconfig"].value


@case("credentials_are_secrets", "internal_kubeconfig", "this output is shown in plain text")
def an_output_of_a_component_is_not_a_secret(recording: Recording) -> None:
    cluster = one(recording, "cluster")
    cluster.outputs = {**cluster.outputs, "internal_kubeconfig": "apiVersion: v1"}


# Proxmox ------------------------------------------------------------------------------------------


@case("each_image_has_its_own_file_name", "image-pve", "must contain the version and the schematic")
def the_file_name_of_an_image_has_no_version(recording: Recording) -> None:
    put(one(recording, "image-pve"), "fileName", "talos.qcow2")


@case("each_image_has_its_own_file_name", "image-pve", "contains no schematic and version")
def the_url_of_an_image_has_no_schematic(recording: Recording) -> None:
    put(one(recording, "image-pve"), "url", "https://example.org/talos.qcow2")


@case("images_are_qcow2", "image-pve", "use the qcow2 image")
def an_image_is_xz(recording: Recording) -> None:
    file = one(recording, "image-pve")
    put(file, "url", file.plain("url").replace(".qcow2", ".raw.xz"))


@case("images_are_qcow2", "image-pve", "contentType must be import")
def an_image_is_an_iso(recording: Recording) -> None:
    put(one(recording, "image-pve"), "contentType", "iso")


@case("schematic_changes_reach_the_image", "image-schematic", "replace_on_changes=['schematic']")
def a_schematic_is_updated_in_place(recording: Recording) -> None:
    one(recording, "image-schematic").replace_on_changes = ()


@case("vm_ids_and_mac_addresses_are_fixed", VM, "has no fixed vmId")
def a_vm_has_no_vm_id(recording: Recording) -> None:
    drop(one(recording, VM), "vmId")


@case("vm_ids_and_mac_addresses_are_fixed", VM, "has no fixed macAddress")
def a_vm_has_no_mac_address(recording: Recording) -> None:
    drop(one(recording, VM), "networkDevices.0.macAddress")


@case(
    "vm_ids_and_mac_addresses_are_fixed", VM, "has the vmId 8000 of machines-castle-control-plane-1"
)
def two_vms_have_the_same_vm_id(recording: Recording) -> None:
    put(one(recording, VM), "vmId", 8000)


@case("vm_ids_and_mac_addresses_are_fixed", VM, "of machines-castle-control-plane-1")
def two_vms_have_the_same_mac_address(recording: Recording) -> None:
    other = one(recording, "machines-castle-control-plane-1").plain("networkDevices")
    put(one(recording, VM), "networkDevices.0.macAddress", other[0]["macAddress"])


@case("vms_boot_from_their_disk", VM, "needs cdrom fileId none")
def a_vm_has_no_cdrom(recording: Recording) -> None:
    drop(one(recording, VM), "cdrom")


@case("vms_boot_from_their_disk", VM, "needs bootOrders")
def a_vm_has_no_boot_order(recording: Recording) -> None:
    drop(one(recording, VM), "bootOrders")


@case("vms_boot_from_their_disk", VM, "q35 has only ide0 and ide2, not ide3, ide2")
def a_drive_uses_an_interface_that_q35_lacks(recording: Recording) -> None:
    put(one(recording, VM), "cdrom.interface", "ide3")


@case("vms_boot_from_their_disk", VM, "two drives on ide2")
def two_drives_use_the_same_interface(recording: Recording) -> None:
    put(one(recording, VM), "cdrom.interface", "ide2")


@case("vms_have_no_permanent_diff", VM, "needs ignore_changes of disks[1].speed")
def changes_of_a_disks_speed_are_not_ignored(recording: Recording) -> None:
    vm = one(recording, VM)
    vm.ignore_changes = tuple(set(vm.ignore_changes) - {"disks[1].speed"})


@case("vms_have_no_permanent_diff", VM, "needs ignore_changes of disks[0].importFrom")
def a_new_image_updates_a_vm(recording: Recording) -> None:
    vm = one(recording, VM)
    # A new image does not replace a VM that has been ready once.
    vm.replace_on_changes = ()


@case("vms_are_stopped_on_destroy", VM, "needs stop_on_destroy")
def a_vm_is_shut_down_on_destroy(recording: Recording) -> None:
    put(one(recording, VM), "stopOnDestroy", False)


@case("vms_do_not_wait_for_the_guest_agent", VM, "waits for the guest agent")
def a_vm_waits_for_its_guest_agent(recording: Recording) -> None:
    drop(one(recording, VM), "agent.waitForIp")


@case("disks_need_no_ssh", VM, "imports its disk over SSH")
def a_disk_is_imported_over_ssh(recording: Recording) -> None:
    disk = one(recording, VM).inputs["disks"][0]
    disk["fileId"] = disk.pop("importFrom")


@case("vms_import_an_image_of_their_host", VM, "which no resource creates")
def a_vm_imports_a_file_that_no_resource_creates(recording: Recording) -> None:
    put(one(recording, VM), "disks.0.importFrom", "local:import/other.qcow2")


@case("vms_import_an_image_of_their_host", VM, "which is not on its host")
def a_vm_imports_an_image_of_another_host(recording: Recording) -> None:
    put(one(recording, VM), "nodeName", "pve2")


@case("vms_import_an_image_of_their_host", VM, "has no dependency on the image")
def a_vm_does_not_depend_on_its_image(recording: Recording) -> None:
    remove_dependency(one(recording, VM), "::image-pve")


# Talos --------------------------------------------------------------------------------------------


@case("invokes_get_camel_case", GET_CONFIGURATION, "Must set trustd_info in camelCase")
def an_invoke_gets_snake_case(recording: Recording) -> None:
    invoke_with(recording, lambda args: args["machineSecrets"].update(trustd_info={}))


@case("configurations_get_all_secrets", GET_CONFIGURATION, "Must set machineSecrets.certs.etcd")
def an_invoke_lacks_a_certificate(recording: Recording) -> None:
    invoke_with(recording, lambda args: args["machineSecrets"]["certs"].pop("etcd"))


@case("configurations_get_all_secrets", GET_CONFIGURATION, "Must set machineSecrets.trustdinfo")
def an_invoke_lacks_all_secrets(recording: Recording) -> None:
    invoke_with(recording, lambda args: args.pop("machineSecrets"))


@case("talos_timeouts_are_complete", WORKER, "timeouts lack delete, update")
def some_timeouts_are_missing(recording: Recording) -> None:
    put(one(recording, WORKER), "timeouts", {"create": "10m"})


@case("talos_timeouts_are_complete", WORKER, "timeouts lack create")
def one_timeout_is_missing(recording: Recording) -> None:
    drop(one(recording, WORKER), "timeouts.create")


@case("vip_on_control_planes_only", WORKER, "virtual (shared) IP is not allowed")
def a_worker_has_the_vip(recording: Recording) -> None:
    edit_config(recording, WORKER, lambda it: interface(it).update(vip={"ip": VIP}))


@case("vip_on_control_planes_only", CONTROL_PLANE, "has no VIP")
def a_control_plane_has_no_vip(recording: Recording) -> None:
    edit_config(recording, CONTROL_PLANE, lambda it: interface(it).pop("vip"))


@case("host_names_are_static", WORKER, "static hostname is already set")
def a_host_name_is_also_in_the_v1alpha1_document(recording: Recording) -> None:
    edit_config(recording, WORKER, lambda it: it["machine"]["network"].update(hostname="castle"))


@case("host_names_are_static", WORKER, "needs a HostnameConfig with auto 'off'")
def there_is_no_hostname_config(recording: Recording) -> None:
    drop_document(recording, WORKER, "HostnameConfig")


@case("host_names_are_static", WORKER, "needs a HostnameConfig with auto 'off'")
def yaml_reads_off_as_false(recording: Recording) -> None:
    edit_document(recording, WORKER, "HostnameConfig", lambda it: it.update(auto=False))


@case("talos_endpoints_are_not_the_vip", WORKER, "its endpoint is the VIP")
def a_config_is_sent_to_the_vip(recording: Recording) -> None:
    put(one(recording, WORKER), "endpoint", VIP)


@case("talos_endpoints_are_not_the_vip", "cluster-bootstrap", "its node is the VIP")
def the_bootstrap_is_sent_to_the_vip(recording: Recording) -> None:
    put(one(recording, "cluster-bootstrap"), "node", VIP)


@case(
    "install_image_has_the_schematic_of_the_image",
    WORKER,
    "is not the nocloud installer of the schematic",
)
def the_install_image_has_no_schematic(recording: Recording) -> None:
    image = {"image": "ghcr.io/siderolabs/installer:v1.13.9"}
    edit_config(recording, WORKER, lambda it: it["machine"]["install"].update(image))


@case(
    "install_image_has_the_schematic_of_the_image",
    WORKER,
    "is not the nocloud installer of the schematic",
)
def the_install_image_has_no_platform(recording: Recording) -> None:
    schematic = one(recording, "image-schematic").id
    image = {"image": f"factory.talos.dev/installer/{schematic}:v1.13.9"}
    edit_config(recording, WORKER, lambda it: it["machine"]["install"].update(image))


@case("data_disks_are_found_by_size", WORKER, "that no UserVolumeConfig uses")
def no_user_volume_uses_the_data_disk(recording: Recording) -> None:
    drop_document(recording, WORKER, "UserVolumeConfig")


@case("data_disks_are_found_by_size", WORKER, "may match the system disk")
def a_selector_may_match_the_system_disk(recording: Recording) -> None:
    match = "disk.size >= 43u * GiB && disk.size < 44u * GiB"
    edit_document(recording, WORKER, "UserVolumeConfig", _select(match))


@case("data_disks_are_found_by_size", WORKER, "does not distinguish disks of [34, 43] GiB")
def a_selector_matches_two_disks(recording: Recording) -> None:
    match = "!system_disk && disk.size >= 30u * GiB && disk.size < 99u * GiB"
    edit_document(recording, WORKER, "UserVolumeConfig", _select(match))


@case("data_disks_are_found_by_size", WORKER, "does not distinguish disks of")
def a_selector_matches_another_size(recording: Recording) -> None:
    put(one(recording, VM), "disks.1.size", 50)


def add_volume(recording: Recording, name: str, match: str) -> None:
    """Add a second user volume to a node's config, as a patch of the stack file does."""
    provisioning = {"diskSelector": {"match": match}, "minSize": "1GiB"}
    volume = {"apiVersion": "v1alpha1", "kind": "UserVolumeConfig", "name": "scratch"}
    patches = one(recording, name).plain("configPatches")
    document = yaml.safe_dump(volume | {"provisioning": provisioning})
    put(one(recording, name), "configPatches", [*patches, document])


def _select(match: str) -> Callable[[dict[str, Any]], object]:
    return lambda volume: volume["provisioning"]["diskSelector"].update(match=match)


@case("longhorn_stores_on_its_user_volume", WORKER, "data path /var/lib/longhorn is not")
def longhorn_stores_on_the_os_disk(recording: Recording) -> None:
    put(one(recording, LONGHORN), "values.defaultSettings.defaultDataPath", "/var/lib/longhorn")


@case("longhorn_stores_on_its_user_volume", WORKER, "data path /var/mnt/longhorn is not")
def a_user_volume_has_another_name(recording: Recording) -> None:
    edit_document(recording, WORKER, "UserVolumeConfig", lambda it: it.update(name="other"))


@case("longhorn_stores_on_its_user_volume", WORKER, "data path /var/mnt/longhorn is not")
def only_another_user_volume_exists(recording: Recording) -> None:
    drop_document(recording, WORKER, "UserVolumeConfig")
    add_volume(recording, WORKER, "disk.transport == 'nvme'")


@case("longhorn_stores_on_its_user_volume", WORKER, "the kubelet must not mount /var/mnt/longhorn")
def a_kubelet_mounts_the_data_path(recording: Recording) -> None:
    mount = {"destination": "/var/mnt/longhorn", "source": "/var/mnt/longhorn", "type": "bind"}
    edit_config(recording, WORKER, lambda it: it["machine"]["kubelet"].update(extraMounts=[mount]))


@case("nodes_have_one_name_and_address", WORKER, "declares 192.168.1.99/24")
def a_config_declares_another_address(recording: Recording) -> None:
    edit_config(recording, WORKER, lambda it: interface(it).update(addresses=["192.168.1.99/24"]))


@case("nodes_have_one_name_and_address", WORKER, "VM castle-other")
def a_vm_has_another_name(recording: Recording) -> None:
    put(one(recording, VM), "name", "castle-other")


@case("nodes_have_one_name_and_address", WORKER, "readiness castle-other")
def the_readiness_waits_for_another_name(recording: Recording) -> None:
    nodes = one(recording, READINESS).plain("nodes")
    put(one(recording, READINESS), "nodes", {"castle-other": nodes["castle-worker-1"]})


@case("machine_configs_follow_their_vm", WORKER, "has no dependency on its VM")
def a_config_does_not_depend_on_its_vm(recording: Recording) -> None:
    remove_dependency(one(recording, WORKER), f"::{VM}")
    remove_dependency(one(recording, NODE), f"::{VM}")


@case("machine_configs_follow_their_vm", WORKER, "must be deleted_with and replace_with")
def a_config_is_not_deleted_with_its_vm(recording: Recording) -> None:
    one(recording, WORKER).deleted_with = None


@case("machine_configs_follow_their_vm", WORKER, "must be deleted_with and replace_with")
def a_config_is_not_replaced_with_its_vm(recording: Recording) -> None:
    one(recording, WORKER).replace_with = ()


@case("the_provider_bootstrap_is_not_used", "cluster-bootstrap", "the provider's Bootstrap")
def the_bootstrap_is_the_one_of_the_provider(recording: Recording) -> None:
    one(recording, "cluster-bootstrap").type = "talos:machine/bootstrap:Bootstrap"


@case("kubernetes_waits_for_every_node", "kubernetes", "needs upsert_existing_objects")
def existing_objects_are_not_upserted(recording: Recording) -> None:
    drop(one(recording, "kubernetes"), "upsertExistingObjects")


@case("one_control_plane_is_bootstrapped", "bootstrap", "0 bootstraps")
def there_is_no_bootstrap(recording: Recording) -> None:
    recording.resources.remove(one(recording, "cluster-bootstrap"))


@case(
    "one_control_plane_is_bootstrapped",
    "bootstrap",
    "2 bootstraps: etcd is bootstrapped exactly once",
)
def there_are_two_bootstraps(recording: Recording) -> None:
    second = deepcopy(one(recording, "cluster-bootstrap"))
    second.urn, second.name = f"{second.urn}-2", "cluster-bootstrap-2"
    recording.resources.append(second)


@case("one_control_plane_is_bootstrapped", "cluster-bootstrap", "is not sent to a control plane")
def the_bootstrap_is_sent_to_a_worker(recording: Recording) -> None:
    put(one(recording, "cluster-bootstrap"), "node", "192.168.1.155")


@case(
    "one_control_plane_is_bootstrapped",
    "cluster-bootstrap",
    "has no dependency on the machine config",
)
def the_bootstrap_does_not_depend_on_a_config(recording: Recording) -> None:
    remove_dependency(one(recording, "cluster-bootstrap"), f"::{CONTROL_PLANE}")


@case(
    "machine_secrets_ignore_the_talos_version", "cluster-secrets", "ignore_changes=['talosVersion']"
)
def a_new_talos_version_creates_new_secrets(recording: Recording) -> None:
    one(recording, "cluster-secrets").ignore_changes = ()


# Kubernetes ---------------------------------------------------------------------------------------


@case("kubernetes_waits_for_every_node", "kubernetes", "must depend on the readiness of the nodes")
def the_api_does_not_wait_for_the_nodes(recording: Recording) -> None:
    remove_dependency(one(recording, "kubernetes"), f"::{READINESS}")


@case("kubernetes_waits_for_every_node", "kubernetes", "does not wait for every node")
def the_readiness_lacks_a_node(recording: Recording) -> None:
    nodes = dict(one(recording, READINESS).plain("nodes"))
    del nodes["castle-worker-1"]
    put(one(recording, READINESS), "nodes", nodes)


@case(
    "kubernetes_waits_for_every_node", "kubernetes", "its kubeconfig is an output of the readiness"
)
def the_kubeconfig_is_an_output_of_the_readiness(recording: Recording) -> None:
    api, readiness = one(recording, "kubernetes"), one(recording, READINESS)
    sources = api.property_dependencies["kubeconfig"]
    api.property_dependencies = {"kubeconfig": (*sources, readiness.urn)}


@case("kubernetes_waits_for_every_node", "kubernetes", "needs cluster_identifier")
def the_provider_has_no_cluster_identifier(recording: Recording) -> None:
    drop(one(recording, "kubernetes"), "clusterIdentifier")


@case("kubernetes_waits_for_every_node", "kubernetes", "does not wait for every machine config")
def the_readiness_does_not_depend_on_a_config(recording: Recording) -> None:
    remove_dependency(one(recording, READINESS), f"::{WORKER}")


@case("destroy_needs_no_running_cluster", "whoami-service", "must be deleted_with the cluster's")
def a_service_is_not_deleted_with_the_secrets(recording: Recording) -> None:
    one(recording, "whoami-service").deleted_with = None


@case("destroy_needs_no_running_cluster", "kubernetes", "must be deleted_with the cluster's")
def the_provider_is_deleted_with_a_vm(recording: Recording) -> None:
    one(recording, "kubernetes").deleted_with = one(recording, VM).urn


@case("kubernetes_objects_have_timeouts", "whoami-deployment", "needs custom_timeouts")
def a_deployment_has_no_delete_timeout(recording: Recording) -> None:
    one(recording, "whoami-deployment").custom_timeouts = {"create": "5m", "update": "5m"}


@case("namespaces_admit_their_pods", "whoami", "no Pod Security label")
def a_namespace_has_no_pod_security_level(recording: Recording) -> None:
    drop(one(recording, "whoami-namespace"), "metadata.labels")


@case("namespaces_admit_their_pods", "longhorn-release", "longhorn-system enforces baseline")
def the_namespace_of_longhorn_is_baseline(recording: Recording) -> None:
    _enforce(recording, "longhorn-namespace", "baseline")


@case("namespaces_admit_their_pods", "metallb-release", "metallb-system enforces baseline")
def the_namespace_of_metallb_is_baseline(recording: Recording) -> None:
    _enforce(recording, "metallb-namespace", "baseline")


@case(
    "namespaces_admit_their_pods",
    "traefik-release",
    "traefik enforces baseline",
    on_host_network=True,
)
def the_namespace_of_host_network_traefik_is_baseline(recording: Recording) -> None:
    _enforce(recording, "traefik-namespace", "baseline")


def _enforce(recording: Recording, namespace: str, level: str) -> None:
    labels = one(recording, namespace).inputs["metadata"]["labels"]
    labels["pod-security.kubernetes.io/enforce"] = level


@case("namespaces_admit_their_pods", "traefik-release", "is not created by this program")
def helm_creates_the_namespace(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "createNamespace", True)


@case("namespaces_come_first", "whoami-service", "namespace other is not created by this program")
def a_service_is_in_an_unknown_namespace(recording: Recording) -> None:
    put(one(recording, "whoami-service"), "metadata.namespace", "other")


@case("namespaces_come_first", "longhorn-release", "has no dependency on its namespace")
def a_release_does_not_depend_on_its_namespace(recording: Recording) -> None:
    remove_dependency(one(recording, "longhorn-release"), "::longhorn-namespace")


@case("charts_are_pinned", "traefik-release", "is not pinned")
def a_chart_has_no_version(recording: Recording) -> None:
    drop(one(recording, "traefik-release"), "version")


@case("charts_are_pinned", "longhorn-release", "is not pinned")
def a_chart_has_a_range_of_versions(recording: Recording) -> None:
    put(one(recording, "longhorn-release"), "version", "^1.12.0")


@case("pools_wait_for_metallb", "metallb-pool", "has no dependency on MetalLB's chart")
def a_pool_does_not_depend_on_metallb(recording: Recording) -> None:
    remove_dependency(one(recording, "metallb-pool"), "::metallb-release")


@case("pools_wait_for_metallb", "metallb-advertisement", "no matches for kind")
def an_advertisement_does_not_depend_on_metallb(recording: Recording) -> None:
    remove_dependency(one(recording, "metallb-advertisement"), "::metallb-pool")


@case("pools_wait_for_metallb", "metallb-release", "its webhook rejects pools")
def the_webhook_may_reject_a_pool(recording: Recording) -> None:
    drop(one(recording, "metallb-release"), "values.crds")


@case("advertisements_name_their_pool", "metallb-advertisement", "must name existing pools")
def an_advertisement_names_no_pool(recording: Recording) -> None:
    drop(one(recording, "metallb-advertisement"), "spec.ipAddressPools")


@case("advertisements_name_their_pool", "metallb-advertisement", "not ['main-pol']")
def an_advertisement_names_an_unknown_pool(recording: Recording) -> None:
    put(one(recording, "metallb-advertisement"), "spec.ipAddressPools", ["main-pol"])


@case("at_least_one_node_announces_the_pool", "metallb-release", "speaker.ignoreExcludeLB")
def metallb_obeys_the_label_of_control_planes(recording: Recording) -> None:
    drop(one(recording, "metallb-release"), "values.speaker.ignoreExcludeLB")


@case("at_least_one_node_announces_the_pool", "metallb-release", "frrk8s.enabled false")
def metallb_installs_frr(recording: Recording) -> None:
    drop(one(recording, "metallb-release"), "values.frrk8s")


@case("longhorn_can_be_uninstalled", "longhorn-release", "deletingConfirmationFlag true")
def longhorn_has_no_deleting_confirmation_flag(recording: Recording) -> None:
    drop(one(recording, "longhorn-release"), "values.defaultSettings.deletingConfirmationFlag")


@case(
    "longhorn_can_be_uninstalled", "longhorn-release", "shorter than the 900 s of the uninstall job"
)
def longhorn_has_a_short_timeout(recording: Recording) -> None:
    put(one(recording, "longhorn-release"), "timeout", 600)


@case("longhorn_can_place_its_replicas", "longhorn-release", "4 replicas on 3 nodes")
def longhorn_has_more_replicas_than_disks(recording: Recording) -> None:
    path = "values.persistence.defaultClassReplicaCount"
    put(one(recording, "longhorn-release"), path, 4)


@case("longhorn_can_place_its_replicas", "longhorn-release", "2 replicas on 1 nodes")
def two_nodes_have_no_longhorn_label(recording: Recording) -> None:
    for number in (1, 2):
        name = f"cluster-castle-worker-{number}-config"
        edit_config(recording, name, lambda it: it["machine"].pop("nodeLabels"))


@case("traefik_values_fit_the_chart_version", "traefik-release", "globalArguments is not a key")
def traefik_has_a_removed_key(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.globalArguments", ["--log.level=INFO"])


@case("traefik_values_fit_the_chart_version", "traefik-release", "ports.web.redirections is not")
def traefik_has_a_removed_nested_key(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.ports.web.redirections", {"to": "websecure"})


@case("acme_has_one_replica", "traefik-release", "exactly one replica")
def traefik_has_two_replicas(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.deployment.replicas", 2)


@case("acme_has_one_replica", "traefik-release", "exactly one replica")
def traefik_is_a_daemon_set(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.deployment.kind", "DaemonSet")


@case("an_update_releases_the_volume_first", "traefik-release", "use Recreate")
def the_update_strategy_is_rolling(recording: Recording) -> None:
    drop(one(recording, "traefik-release"), "values.updateStrategy")


@case(
    "an_update_releases_the_volume_first", "traefik-release", "use Recreate", on_host_network=True
)
def the_update_strategy_allows_a_surge(recording: Recording) -> None:
    path = "values.updateStrategy.rollingUpdate.maxSurge"
    put(one(recording, "traefik-release"), path, 1)


@case("acme_json_is_private_and_persistent", "traefik-release", "too open: no fsGroup")
def traefik_has_an_fs_group(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.podSecurityContext.fsGroup", 65532)


@case("acme_json_is_private_and_persistent", "traefik-release", "must be on a claim")
def traefik_has_no_existing_claim(recording: Recording) -> None:
    drop(one(recording, "traefik-release"), "values.persistence.existingClaim")


@case("acme_json_is_private_and_persistent", "traefik-release", "created before it")
def traefik_does_not_depend_on_its_claim(recording: Recording) -> None:
    remove_dependency(one(recording, "traefik-release"), "::traefik-certificates")


@case("services_get_an_address_of_the_pool", "traefik-release", "in MetalLB's annotation")
def a_service_names_no_address(recording: Recording) -> None:
    drop(one(recording, "traefik-release"), "values.service.annotations")


@case("services_get_an_address_of_the_pool", "traefik-release", "and only there")
def a_service_names_its_address_twice(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.service.spec.loadBalancerIP", "192.168.1.240")


@case(
    "services_get_an_address_of_the_pool",
    "traefik-release",
    "has no dependency on the pool of its address",
)
def traefik_does_not_depend_on_the_pool(recording: Recording) -> None:
    remove_dependency(one(recording, "traefik-namespace"), "::metallb-advertisement")


@case(
    "claims_wait_for_their_storage_class", "traefik-certificates", "has no dependency on Longhorn"
)
def a_claim_does_not_depend_on_longhorn(recording: Recording) -> None:
    remove_dependency(
        one(recording, "traefik-namespace"), "::longhorn-release", "::longhorn-storage"
    )


@case(
    "host_network_traefik_can_bind_its_ports",
    "traefik-release",
    "needs nodeSelector of a control plane",
    on_host_network=True,
)
def traefik_has_no_node_selector(recording: Recording) -> None:
    drop(one(recording, "traefik-release"), "values.nodeSelector")


@case(
    "host_network_traefik_can_bind_its_ports",
    "traefik-release",
    "needs toleration of its taint",
    on_host_network=True,
)
def traefik_does_not_tolerate_the_taint(recording: Recording) -> None:
    drop(one(recording, "traefik-release"), "values.tolerations")


@case(
    "host_network_traefik_can_bind_its_ports", "traefik-release", "needs root", on_host_network=True
)
def traefik_is_not_root(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.podSecurityContext.runAsUser", 65532)


@case(
    "host_network_traefik_can_bind_its_ports",
    "traefik-release",
    "ClusterFirstWithHostNet",
    on_host_network=True,
)
def traefik_has_no_dns_policy(recording: Recording) -> None:
    drop(one(recording, "traefik-release"), "values.deployment.dnsPolicy")


@case(
    "host_network_traefik_can_bind_its_ports",
    "traefik-release",
    "hostPort equal to port",
    on_host_network=True,
)
def a_host_port_differs_from_the_port(recording: Recording) -> None:
    put(one(recording, "traefik-release"), "values.ports.web.port", 8000)


@case("routes_wait_for_traefik", "whoami-route", "has no dependency on Traefik's chart")
def a_route_does_not_depend_on_traefik(recording: Recording) -> None:
    remove_dependency(one(recording, "whoami-route"), "::traefik-release")


@case(
    "flux_can_be_removed",
    "flux-instance",
    "FluxUninstall does not depend on the instance",
    with_flux=True,
)
def flux_uninstall_does_not_depend_on_flux(recording: Recording) -> None:
    remove_dependency(one(recording, "flux-uninstall"), "::flux-instance")


@case("flux_can_be_removed", "flux-source", "must be deleted_with FluxUninstall", with_flux=True)
def a_source_is_not_deleted_with_flux_uninstall(recording: Recording) -> None:
    one(recording, "flux-source").deleted_with = one(recording, "cluster-secrets").urn


@case("destroy_needs_no_running_cluster", "flux-uninstall", "must be deleted_with", with_flux=True)
def flux_uninstall_is_not_deleted_with_the_secrets(recording: Recording) -> None:
    one(recording, "flux-uninstall").deleted_with = None


@case("credentials_are_secrets", "flux-castle-git", "data is in the state", with_flux=True)
def a_deploy_key_is_not_a_secret(recording: Recording) -> None:
    put(one(recording, "flux-castle-git"), "data", {"identity": "open sesame"})


@case(
    "kustomizations_do_not_delete_applications",
    "flux-kustomization",
    "needs deletionPolicy Orphan",
    with_flux=True,
)
def a_kustomization_deletes_the_applications(recording: Recording) -> None:
    drop(one(recording, "flux-kustomization"), "spec.deletionPolicy")


@case("sources_wait_for_flux", "flux-source", "no matches for kind", with_flux=True)
def a_source_does_not_depend_on_flux(recording: Recording) -> None:
    remove_dependency(one(recording, "flux-source"), "::flux-ready")


@case(
    "sources_wait_for_their_secrets",
    "flux-source",
    "has no dependency on its Secret castle-git",
    with_flux=True,
)
def a_source_does_not_depend_on_its_secret(recording: Recording) -> None:
    remove_dependency(one(recording, "flux-source"), "::flux-castle-git")


# The tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_an_invariant_finds_its_violation(
    name: str, homelab: Rehearsal, host_network: Rehearsal, gitops: Rehearsal
) -> None:
    case = CASES[name]
    with_flux = gitops if case.with_flux else homelab
    recording = deepcopy((host_network if case.on_host_network else with_flux).recording)
    case.break_it(recording)
    check, _ = INVARIANTS[case.invariant]
    messages = [message for resource, message in check(recording) if resource == case.resource]
    assert [message for message in messages if case.words in message], messages


@pytest.mark.parametrize("name", INVARIANTS)
def test_every_invariant_has_a_case(name: str) -> None:
    assert name in {case.invariant for case in CASES.values()}, f"write a case that violates {name}"


@pytest.mark.parametrize("name", INVARIANTS)
def test_every_invariant_has_a_source_and_a_reason(name: str) -> None:
    check, source = INVARIANTS[name]
    assert source.strip()
    assert check.__doc__


@pytest.mark.parametrize("node", [WORKER, CONTROL_PLANE])
def test_a_patch_may_add_a_user_volume(recording: Recording, node: str) -> None:
    add_volume(recording, node, "disk.size > 200u * GiB")
    assert find_violations(recording) == []


def test_breaking_a_copy_does_not_change_the_shared_recording(
    homelab: Rehearsal, recording: Recording
) -> None:
    a_vm_has_no_vm_id(recording)
    assert one(homelab.recording, VM).plain("vmId") == 8010


def test_a_violation_shows_its_resource_its_message_and_its_source() -> None:
    violation = Violation("invariant", "vm", "needs a name", "an issue")
    assert str(violation) == "vm: needs a name [an issue]"


def test_an_empty_stack_violates_no_invariant() -> None:
    assert find_violations(Recording()) == []


def test_patches_are_merged_by_kind_and_name() -> None:
    base = machine_config.generate(
        {"machineType": "worker", "clusterName": "castle", "clusterEndpoint": "https://vip:6443"}
    )
    patched = machine_config.patch(
        base,
        [
            "machine: {network: {interfaces: [{dhcp: false}]}}",
            "machine: {network: {interfaces: [{dhcp: true}]}}",
            "{kind: HostnameConfig, auto: 'off', hostname: castle-worker-1}",
            "{kind: UserVolumeConfig, name: longhorn}\n---\n{kind: UserVolumeConfig, name: other}",
        ],
    )
    assert main(patched)["machine"]["type"] == "worker"
    interfaces = main(patched)["machine"]["network"]["interfaces"]
    assert interfaces == [{"dhcp": False}, {"dhcp": True}]
    (host_name,) = of_kind(patched, "HostnameConfig")
    assert host_name["auto"] == "off"
    assert host_name["apiVersion"] == "v1alpha1"
    assert len(of_kind(patched, "UserVolumeConfig")) == 2
