"""Every rule of the rehearsal finds what it is there for.

Each case takes the rehearsed reference castle, breaks one thing in what was recorded, and names the
rule that must find it with words of what it must say. A rule without a case fails a test.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from rehearsal import machine_config, rules
from rehearsal.record import Castle, Invoke, Resource
from rehearsal.run import Rehearsal
from rehearsal.values import Secret
from settings import resource_types
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
    """One thing that is broken, and what must be said of it."""

    rule: str
    break_it: Callable[[Castle], None]
    resource: str
    """Name of what the finding is about."""
    words: str
    """A part of the message that tells."""
    on_host_network: bool = False
    """Begin with the castle whose Traefik stands on the host's network."""
    with_flux: bool = False
    """Begin with the castle that follows a repository."""


CASES: dict[str, Case] = {}


def case(
    rule: str,
    resource: str,
    words: str,
    *,
    on_host_network: bool = False,
    with_flux: bool = False,
) -> Callable[[Callable[[Castle], None]], Callable[[Castle], None]]:
    """Make a function that breaks a castle a case of a rule."""

    def add(break_it: Callable[[Castle], None]) -> Callable[[Castle], None]:
        CASES[break_it.__name__] = Case(rule, break_it, resource, words, on_host_network, with_flux)
        return break_it

    return add


# Tools that break ---------------------------------------------------------------------------------


def put(resource: Resource, path: str, value: Any) -> None:
    """Write an input at a dotted path; a number is a place in a list."""
    *parts, last = path.split(".")
    holder: Any = resource.inputs
    for part in parts:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    if isinstance(holder, list):
        holder[int(last)] = value
    else:
        holder[last] = value


def take(resource: Resource, path: str) -> None:
    """Remove an input at a dotted path."""
    *parts, last = path.split(".")
    holder: Any = resource.inputs
    for part in parts:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    del holder[last]


def forget(resource: Resource, *names: str) -> None:
    """Let a resource no longer wait for others, by the ends of their names."""

    def kept(urns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(urn for urn in urns if not urn.endswith(names))

    before = (resource.dependencies, dict(resource.property_dependencies))
    resource.dependencies = kept(resource.dependencies)
    resource.property_dependencies = {
        name: kept(urns) for name, urns in resource.property_dependencies.items()
    }
    assert before != (resource.dependencies, resource.property_dependencies), "nothing forgotten"


def edit_config(castle: Castle, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the v1alpha1 document among the patches of a node's config."""
    _edit(castle, name, "", change)


def edit_document(
    castle: Castle, name: str, kind: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """Change the document of a kind among the patches of a node's config."""
    _edit(castle, name, kind, change)


def _edit(castle: Castle, name: str, kind: str, change: Callable[[dict[str, Any]], object]) -> None:
    resource = one(castle, name)
    documents = [yaml.safe_load(patch) for patch in resource.plain("configPatches")]
    (wanted,) = [document for document in documents if document.get("kind", "") == kind]
    change(wanted)
    put(resource, "configPatches", [yaml.safe_dump(document) for document in documents])


def interface(document: dict[str, Any]) -> dict[str, Any]:
    """The one network interface of a machine config."""
    (found,) = document["machine"]["network"]["interfaces"]
    assert isinstance(found, dict)
    return found


def drop_document(castle: Castle, name: str, kind: str) -> None:
    """Take the document of a kind out of the patches of a node's config."""
    resource = one(castle, name)
    patches = resource.plain("configPatches")
    kept = [patch for patch in patches if yaml.safe_load(patch).get("kind") != kind]
    assert len(kept) == len(patches) - 1
    put(resource, "configPatches", kept)


def invoke_with(castle: Castle, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the arguments of the first call that makes a machine config."""
    index = next(i for i, call in enumerate(castle.invokes) if call.token == GET_CONFIGURATION)
    args = deepcopy(dict(castle.invokes[index].args))
    change(args)
    castle.invokes[index] = Invoke(token=GET_CONFIGURATION, args=args)


# The engine ---------------------------------------------------------------------------------------


@case("names_are_unique", VM, "2 resources have the URN")
def a_machine_is_registered_twice(castle: Castle) -> None:
    castle.resources.append(deepcopy(one(castle, VM)))


@case("providers_are_chosen", "longhorn-release", "no provider was chosen")
def a_provider_is_forgotten(castle: Castle) -> None:
    one(castle, "longhorn-release").provider = None


@case("secrets_are_secret", WORKER, "machineConfigurationInput would stand in the state")
def a_machine_config_is_plain(castle: Castle) -> None:
    config = one(castle, WORKER)
    put(config, "machineConfigurationInput", config.plain("machineConfigurationInput"))


@case("secrets_are_secret", "kubernetes", "kubeconfig would stand in the state in plain text")
def a_kubeconfig_is_plain(castle: Castle) -> None:
    put(one(castle, "kubernetes"), "kubeconfig", "apiVersion: v1")


@case("secrets_are_secret", READINESS, "credentials would stand in the state in plain text")
def the_readiness_has_a_plain_key(castle: Castle) -> None:
    put(one(castle, READINESS), "credentials", {"client_key": "key"})


@case("secrets_are_secret", NODE, "credentials would stand in the state in plain text")
def a_node_has_a_plain_token(castle: Castle) -> None:
    put(one(castle, NODE), "credentials", {"proxmox_token": "token"})


@case("nodes_are_changed_one_at_a_time", NODE, "both would go down together")
def a_link_of_the_chain_is_missing(castle: Castle) -> None:
    forget(one(castle, NODE), "::cluster-castle-control-plane-1")


@case("nodes_are_changed_one_at_a_time", WORKER, "reboot its node together with the others")
def a_config_may_reboot_its_node(castle: Castle) -> None:
    put(one(castle, WORKER), "applyMode", "auto")


@case("nodes_are_changed_one_at_a_time", WORKER, "before all nodes are upgraded")
def a_config_overtakes_the_upgrades(castle: Castle) -> None:
    one(castle, WORKER).dependencies = ()


@case("nodes_are_changed_one_at_a_time", VM, "power-cycle it together with the others")
def the_provider_reboots_a_machine(castle: Castle) -> None:
    put(one(castle, VM), "rebootAfterUpdate", True)


@case("secrets_are_secret", "proxmox", "apiToken would stand in the state in plain text")
def a_token_is_plain(castle: Castle) -> None:
    put(one(castle, "proxmox"), "apiToken", "token")


@case("secrets_are_secret", "talosconfig", "this output would be shown in plain text")
def an_output_is_plain(castle: Castle) -> None:
    castle.outputs["talosconfig"] = castle.outputs["talosconfig"].value


# Proxmox ------------------------------------------------------------------------------------------


@case("image_file_names_tell_images_apart", "image-pve", "must hold the version and the schematic")
def a_files_name_holds_no_version(castle: Castle) -> None:
    put(one(castle, "image-pve"), "fileName", "talos.qcow2")


@case("image_file_names_tell_images_apart", "image-pve", "names no schematic and version")
def a_files_address_is_another(castle: Castle) -> None:
    put(one(castle, "image-pve"), "url", "https://example.org/talos.qcow2")


@case("images_can_be_unpacked", "image-pve", "take the qcow2 image")
def an_image_is_xz(castle: Castle) -> None:
    file = one(castle, "image-pve")
    put(file, "url", file.plain("url").replace(".qcow2", ".raw.xz"))


@case("images_can_be_unpacked", "image-pve", "contentType must be import")
def an_image_is_an_iso(castle: Castle) -> None:
    put(one(castle, "image-pve"), "contentType", "iso")


@case("schematic_changes_reach_the_image", "image-schematic", "replace_on_changes=['schematic']")
def a_schematic_is_updated_in_place(castle: Castle) -> None:
    one(castle, "image-schematic").replace_on_changes = ()


@case("machines_are_declared", VM, "has no fixed vmId")
def a_machine_has_no_id(castle: Castle) -> None:
    take(one(castle, VM), "vmId")


@case("machines_are_declared", VM, "has no fixed macAddress")
def a_machine_has_no_mac_address(castle: Castle) -> None:
    take(one(castle, VM), "networkDevices.0.macAddress")


@case("machines_are_declared", VM, "has the vmId 8000 of machines-castle-control-plane-1")
def two_machines_have_one_id(castle: Castle) -> None:
    put(one(castle, VM), "vmId", 8000)


@case("machines_are_declared", VM, "of machines-castle-control-plane-1")
def two_machines_have_one_mac_address(castle: Castle) -> None:
    other = one(castle, "machines-castle-control-plane-1").plain("networkDevices")
    put(one(castle, VM), "networkDevices.0.macAddress", other[0]["macAddress"])


@case("machines_boot_from_their_disk", VM, "needs cdrom fileId none")
def a_machine_has_no_cdrom_of_ours(castle: Castle) -> None:
    take(one(castle, VM), "cdrom")


@case("machines_boot_from_their_disk", VM, "needs bootOrders")
def a_machine_has_no_boot_order(castle: Castle) -> None:
    take(one(castle, VM), "bootOrders")


@case("machines_boot_from_their_disk", VM, "q35 has only ide0 and ide2, not ide3, ide2")
def a_drive_is_where_q35_has_none(castle: Castle) -> None:
    put(one(castle, VM), "cdrom.interface", "ide3")


@case("machines_boot_from_their_disk", VM, "two drives on ide2")
def two_drives_share_an_interface(castle: Castle) -> None:
    put(one(castle, VM), "cdrom.interface", "ide2")


@case("machines_have_no_permanent_diff", VM, "needs ignore_changes of disks[1].speed")
def a_disks_speed_is_not_ignored(castle: Castle) -> None:
    machine = one(castle, VM)
    machine.ignore_changes = tuple(set(machine.ignore_changes) - {"disks[1].speed"})


@case("machines_have_no_permanent_diff", VM, "needs ignore_changes of disks[0].importFrom")
def a_new_image_would_touch_a_machine(castle: Castle) -> None:
    machine = one(castle, VM)
    # A machine that has come up is not replaced for a new image.
    machine.replace_on_changes = ()


@case("machines_are_switched_off_on_destroy", VM, "needs stop_on_destroy")
def a_machine_is_asked_to_shut_down(castle: Castle) -> None:
    put(one(castle, VM), "stopOnDestroy", False)


@case("machines_do_not_wait_for_an_agent", VM, "would wait for an agent")
def a_machine_waits_for_its_agent(castle: Castle) -> None:
    take(one(castle, VM), "agent.waitForIp")


@case("disks_need_no_ssh", VM, "imports its disk over SSH")
def a_disk_is_imported_over_ssh(castle: Castle) -> None:
    disk = one(castle, VM).inputs["disks"][0]
    disk["fileId"] = disk.pop("importFrom")


@case("machines_import_an_image_of_their_host", VM, "which nothing makes")
def a_machine_imports_what_is_not_there(castle: Castle) -> None:
    put(one(castle, VM), "disks.0.importFrom", "local:import/other.qcow2")


@case("machines_import_an_image_of_their_host", VM, "which is not on its host")
def a_machine_imports_an_image_of_another_host(castle: Castle) -> None:
    put(one(castle, VM), "nodeName", "pve2")


@case("machines_import_an_image_of_their_host", VM, "does not wait for the image")
def a_machine_does_not_wait_for_its_image(castle: Castle) -> None:
    forget(one(castle, VM), "::image-pve")


# Talos --------------------------------------------------------------------------------------------


@case("invokes_get_camel_case", GET_CONFIGURATION, "Must set trustd_info in camelCase")
def an_invoke_gets_snake_case(castle: Castle) -> None:
    invoke_with(castle, lambda args: args["machineSecrets"].update(trustd_info={}))


@case("configurations_get_all_secrets", GET_CONFIGURATION, "Must set machineSecrets.certs.etcd")
def an_invoke_lacks_a_certificate(castle: Castle) -> None:
    invoke_with(castle, lambda args: args["machineSecrets"]["certs"].pop("etcd"))


@case("configurations_get_all_secrets", GET_CONFIGURATION, "Must set machineSecrets.trustdinfo")
def an_invoke_lacks_all_secrets(castle: Castle) -> None:
    invoke_with(castle, lambda args: args.pop("machineSecrets"))


@case("talos_timeouts_are_whole", WORKER, "timeouts must have every field: delete, update")
def a_part_of_the_timeouts_is_given(castle: Castle) -> None:
    put(one(castle, WORKER), "timeouts", {"create": "10m"})


@case("talos_timeouts_are_whole", WORKER, "timeouts must have every field: create")
def no_timeout_is_given(castle: Castle) -> None:
    take(one(castle, WORKER), "timeouts.create")


@case("vip_on_control_planes_only", WORKER, "virtual (shared) IP is not allowed")
def a_worker_carries_the_vip(castle: Castle) -> None:
    edit_config(castle, WORKER, lambda it: interface(it).update(vip={"ip": VIP}))


@case("vip_on_control_planes_only", CONTROL_PLANE, "carries no VIP")
def a_control_plane_carries_no_vip(castle: Castle) -> None:
    edit_config(castle, CONTROL_PLANE, lambda it: interface(it).pop("vip"))


@case("host_names_are_static", WORKER, "static hostname is already set")
def a_host_name_stands_in_the_old_place(castle: Castle) -> None:
    edit_config(castle, WORKER, lambda it: it["machine"]["network"].update(hostname="castle"))


@case("host_names_are_static", WORKER, "needs a HostnameConfig with auto 'off'")
def a_host_name_is_left_to_talos(castle: Castle) -> None:
    drop_document(castle, WORKER, "HostnameConfig")


@case("host_names_are_static", WORKER, "needs a HostnameConfig with auto 'off'")
def yaml_reads_off_as_false(castle: Castle) -> None:
    edit_document(castle, WORKER, "HostnameConfig", lambda it: it.update(auto=False))


@case("talos_is_not_reached_by_the_vip", WORKER, "its endpoint is the VIP")
def a_config_comes_by_the_vip(castle: Castle) -> None:
    put(one(castle, WORKER), "endpoint", VIP)


@case("talos_is_not_reached_by_the_vip", "cluster-bootstrap", "its node is the VIP")
def the_bootstrap_goes_to_the_vip(castle: Castle) -> None:
    put(one(castle, "cluster-bootstrap"), "node", VIP)


@case("install_image_is_the_images", WORKER, "is not the nocloud installer of our schematic")
def an_upgrade_would_lose_the_extensions(castle: Castle) -> None:
    image = {"image": "ghcr.io/siderolabs/installer:v1.13.9"}
    edit_config(castle, WORKER, lambda it: it["machine"]["install"].update(image))


@case("install_image_is_the_images", WORKER, "is not the nocloud installer of our schematic")
def the_installer_forgets_the_platform(castle: Castle) -> None:
    schematic = one(castle, "image-schematic").id
    image = {"image": f"factory.talos.dev/installer/{schematic}:v1.13.9"}
    edit_config(castle, WORKER, lambda it: it["machine"]["install"].update(image))


@case("data_disks_are_found_by_size", WORKER, "that no UserVolumeConfig takes")
def a_data_disk_is_left_empty(castle: Castle) -> None:
    drop_document(castle, WORKER, "UserVolumeConfig")


@case("data_disks_are_found_by_size", WORKER, "may take the system disk")
def a_volume_may_take_the_system_disk(castle: Castle) -> None:
    match = "disk.size >= 43u * GiB && disk.size < 44u * GiB"
    edit_document(castle, WORKER, "UserVolumeConfig", _select(match))


@case("data_disks_are_found_by_size", WORKER, "does not tell disks of [34, 43] GiB apart")
def a_volume_takes_any_large_disk(castle: Castle) -> None:
    match = "!system_disk && disk.size >= 30u * GiB && disk.size < 99u * GiB"
    edit_document(castle, WORKER, "UserVolumeConfig", _select(match))


@case("data_disks_are_found_by_size", WORKER, "does not tell disks of")
def a_volume_looks_for_another_size(castle: Castle) -> None:
    put(one(castle, VM), "disks.1.size", 50)


def _select(match: str) -> Callable[[dict[str, Any]], object]:
    return lambda volume: volume["provisioning"]["diskSelector"].update(match=match)


@case("longhorn_stores_on_its_user_volume", WORKER, "data path /var/lib/longhorn is not")
def longhorn_stores_on_the_os_disk(castle: Castle) -> None:
    put(one(castle, LONGHORN), "values.defaultSettings.defaultDataPath", "/var/lib/longhorn")


@case("longhorn_stores_on_its_user_volume", WORKER, "data path /var/mnt/longhorn is not")
def a_user_volume_has_another_name(castle: Castle) -> None:
    edit_document(castle, WORKER, "UserVolumeConfig", lambda it: it.update(name="other"))


@case("longhorn_stores_on_its_user_volume", WORKER, "the kubelet must not bind /var/mnt/longhorn")
def a_kubelet_binds_the_data_path(castle: Castle) -> None:
    mount = {"destination": "/var/mnt/longhorn", "source": "/var/mnt/longhorn", "type": "bind"}
    edit_config(castle, WORKER, lambda it: it["machine"]["kubelet"].update(extraMounts=[mount]))


@case("one_name_and_address_each", WORKER, "declares 192.168.1.99/24")
def a_config_declares_another_address(castle: Castle) -> None:
    edit_config(castle, WORKER, lambda it: interface(it).update(addresses=["192.168.1.99/24"]))


@case("one_name_and_address_each", WORKER, "machine castle-other")
def a_machine_has_another_name(castle: Castle) -> None:
    put(one(castle, VM), "name", "castle-other")


@case("one_name_and_address_each", WORKER, "gate castle-other")
def a_gate_waits_for_another_name(castle: Castle) -> None:
    nodes = one(castle, READINESS).plain("nodes")
    put(one(castle, READINESS), "nodes", {"castle-other": nodes["castle-worker-1"]})


@case("configs_follow_their_machine", WORKER, "nothing orders it after its machine")
def a_config_does_not_wait_for_its_machine(castle: Castle) -> None:
    forget(one(castle, WORKER), f"::{VM}")
    forget(one(castle, NODE), f"::{VM}")


@case("configs_follow_their_machine", WORKER, "must be deleted_with and replace_with")
def a_config_outlives_its_machine(castle: Castle) -> None:
    one(castle, WORKER).deleted_with = None


@case("configs_follow_their_machine", WORKER, "must be deleted_with and replace_with")
def a_config_is_not_sent_to_a_new_machine(castle: Castle) -> None:
    one(castle, WORKER).replace_with = ()


@case("bootstrap_is_safe_to_repeat", "cluster-bootstrap", "the provider's Bootstrap")
def the_providers_own_bootstrap(castle: Castle) -> None:
    one(castle, "cluster-bootstrap").type = "talos:machine/bootstrap:Bootstrap"


@case("the_api_waits_for_every_node", "kubernetes", "needs upsert_existing_objects")
def a_provider_that_trips_over_what_is_there(castle: Castle) -> None:
    take(one(castle, "kubernetes"), "upsertExistingObjects")


@case("bootstrapped_once", "bootstrap", "0 bootstraps")
def nobody_begins(castle: Castle) -> None:
    castle.resources.remove(one(castle, "cluster-bootstrap"))


@case("bootstrapped_once", "bootstrap", "2 bootstraps: etcd begins exactly once")
def two_begin(castle: Castle) -> None:
    second = deepcopy(one(castle, "cluster-bootstrap"))
    second.urn, second.name = f"{second.urn}-2", "cluster-bootstrap-2"
    castle.resources.append(second)


@case("bootstrapped_once", "cluster-bootstrap", "is sent to what is no control plane")
def a_worker_begins(castle: Castle) -> None:
    put(one(castle, "cluster-bootstrap"), "node", "192.168.1.155")


@case("bootstrapped_once", "cluster-bootstrap", "nothing orders it after the config")
def the_beginning_waits_for_no_config(castle: Castle) -> None:
    forget(one(castle, "cluster-bootstrap"), f"::{CONTROL_PLANE}")


@case("secrets_keep_their_contract", "cluster-secrets", "ignore_changes=['talosVersion']")
def a_new_talos_would_make_new_secrets(castle: Castle) -> None:
    one(castle, "cluster-secrets").ignore_changes = ()


# Kubernetes ---------------------------------------------------------------------------------------


@case("the_api_waits_for_every_node", "kubernetes", "must depend on the readiness of the nodes")
def the_api_does_not_wait_for_the_nodes(castle: Castle) -> None:
    forget(one(castle, "kubernetes"), f"::{READINESS}")


@case("the_api_waits_for_every_node", "kubernetes", "is not kept waiting for every node")
def the_api_waits_for_one_node_less(castle: Castle) -> None:
    nodes = dict(one(castle, READINESS).plain("nodes"))
    del nodes["castle-worker-1"]
    put(one(castle, READINESS), "nodes", nodes)


@case("the_api_waits_for_every_node", "kubernetes", "its kubeconfig comes through the readiness")
def the_kubeconfig_comes_through_the_gate(castle: Castle) -> None:
    api, gate = one(castle, "kubernetes"), one(castle, READINESS)
    sources = api.property_dependencies["kubeconfig"]
    api.property_dependencies = {"kubeconfig": (*sources, gate.urn)}


@case("the_api_waits_for_every_node", "kubernetes", "needs cluster_identifier")
def the_cluster_is_known_by_its_kubeconfig(castle: Castle) -> None:
    take(one(castle, "kubernetes"), "clusterIdentifier")


@case("the_api_waits_for_every_node", "kubernetes", "does not wait for every config")
def the_api_waits_for_one_config_less(castle: Castle) -> None:
    forget(one(castle, READINESS), f"::{WORKER}")


@case("the_dying_cluster_is_not_asked", "whoami-service", "must be deleted_with the cluster's")
def a_service_would_be_asked_for(castle: Castle) -> None:
    one(castle, "whoami-service").deleted_with = None


@case("the_dying_cluster_is_not_asked", "kubernetes", "must be deleted_with the cluster's")
def the_api_goes_with_a_machine(castle: Castle) -> None:
    one(castle, "kubernetes").deleted_with = one(castle, VM).urn


@case("waits_have_limits", "whoami-deployment", "needs custom_timeouts")
def a_deployment_is_waited_for_without_limit(castle: Castle) -> None:
    one(castle, "whoami-deployment").custom_timeouts = {"create": "5m", "update": "5m"}


@case("namespaces_admit_their_pods", "whoami", "no Pod Security label")
def a_namespace_has_no_level(castle: Castle) -> None:
    take(one(castle, "whoami-namespace"), "metadata.labels")


@case("namespaces_admit_their_pods", "longhorn-release", "longhorn-system enforces baseline")
def longhorn_is_refused_by_its_namespace(castle: Castle) -> None:
    _enforce(castle, "longhorn-namespace", "baseline")


@case("namespaces_admit_their_pods", "metallb-release", "metallb-system enforces baseline")
def metallb_is_refused_by_its_namespace(castle: Castle) -> None:
    _enforce(castle, "metallb-namespace", "baseline")


@case(
    "namespaces_admit_their_pods",
    "traefik-release",
    "traefik enforces baseline",
    on_host_network=True,
)
def the_host_network_is_refused_by_its_namespace(castle: Castle) -> None:
    _enforce(castle, "traefik-namespace", "baseline")


def _enforce(castle: Castle, namespace: str, level: str) -> None:
    labels = one(castle, namespace).inputs["metadata"]["labels"]
    labels["pod-security.kubernetes.io/enforce"] = level


@case("namespaces_admit_their_pods", "traefik-release", "is not one of ours")
def helm_makes_its_own_namespace(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "createNamespace", True)


@case("namespaces_come_first", "whoami-service", "namespace other is made by nobody")
def a_service_stands_in_no_namespace(castle: Castle) -> None:
    put(one(castle, "whoami-service"), "metadata.namespace", "other")


@case("namespaces_come_first", "longhorn-release", "nothing orders it after its namespace")
def a_release_does_not_wait_for_its_namespace(castle: Castle) -> None:
    forget(one(castle, "longhorn-release"), "::longhorn-namespace")


@case("charts_are_pinned", "traefik-release", "is not pinned")
def a_chart_has_no_version(castle: Castle) -> None:
    take(one(castle, "traefik-release"), "version")


@case("charts_are_pinned", "longhorn-release", "is not pinned")
def a_chart_has_a_range_of_versions(castle: Castle) -> None:
    put(one(castle, "longhorn-release"), "version", "^1.12.0")


@case("pools_wait_for_metallb", "metallb-pool", "nothing orders it after MetalLB's chart")
def a_pool_does_not_wait_for_its_kind(castle: Castle) -> None:
    forget(one(castle, "metallb-pool"), "::metallb-release")


@case("pools_wait_for_metallb", "metallb-advertisement", "no matches for kind")
def an_advertisement_does_not_wait_for_its_kind(castle: Castle) -> None:
    forget(one(castle, "metallb-advertisement"), "::metallb-pool")


@case("pools_wait_for_metallb", "metallb-release", "its webhook refuses pools")
def a_webhook_may_refuse_a_pool(castle: Castle) -> None:
    take(one(castle, "metallb-release"), "values.crds")


@case("advertisements_name_their_pool", "metallb-advertisement", "must name pools of ours")
def an_advertisement_names_no_pool(castle: Castle) -> None:
    take(one(castle, "metallb-advertisement"), "spec.ipAddressPools")


@case("advertisements_name_their_pool", "metallb-advertisement", "not ['main-pol']")
def an_advertisement_has_a_typo(castle: Castle) -> None:
    put(one(castle, "metallb-advertisement"), "spec.ipAddressPools", ["main-pol"])


@case("somebody_announces_the_pool", "metallb-release", "speaker.ignoreExcludeLB")
def only_control_planes_are_left(castle: Castle) -> None:
    castle.resources = [
        r for r in castle.resources if not (r.type == resource_types.APPLY and "-worker-" in r.name)
    ]


@case("somebody_announces_the_pool", "metallb-release", "frrk8s.enabled false")
def metallb_brings_frr(castle: Castle) -> None:
    take(one(castle, "metallb-release"), "values.frrk8s")


@case("longhorn_can_be_uninstalled", "longhorn-release", "deletingConfirmationFlag true")
def longhorn_asks_before_it_goes(castle: Castle) -> None:
    take(one(castle, "longhorn-release"), "values.defaultSettings.deletingConfirmationFlag")


@case("longhorn_can_be_uninstalled", "longhorn-release", "shorter than the uninstall job's")
def longhorn_has_no_time_to_go(castle: Castle) -> None:
    put(one(castle, "longhorn-release"), "timeout", 600)


@case("longhorn_can_place_its_replicas", "longhorn-release", "4 replicas on 3 nodes")
def longhorn_has_more_replicas_than_disks(castle: Castle) -> None:
    path = "values.persistence.defaultClassReplicaCount"
    put(one(castle, "longhorn-release"), path, 4)


@case("longhorn_can_place_its_replicas", "longhorn-release", "2 replicas on 1 nodes")
def longhorn_does_not_see_the_disks(castle: Castle) -> None:
    for number in (1, 2):
        name = f"cluster-castle-worker-{number}-config"
        edit_config(castle, name, lambda it: it["machine"].pop("nodeLabels"))


@case("traefik_values_are_of_their_version", "traefik-release", "globalArguments is not a key")
def traefik_gets_a_key_that_is_gone(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.globalArguments", ["--log.level=INFO"])


@case("traefik_values_are_of_their_version", "traefik-release", "ports.web.redirections is not")
def traefik_gets_a_nested_key_that_is_gone(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.ports.web.redirections", {"to": "websecure"})


@case("acme_has_one_replica", "traefik-release", "exactly one replica")
def two_traefiks_share_an_account(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.deployment.replicas", 2)


@case("acme_has_one_replica", "traefik-release", "exactly one replica")
def a_traefik_stands_on_every_node(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.deployment.kind", "DaemonSet")


@case("one_node_at_a_time_for_a_volume", "traefik-release", "use Recreate")
def a_volume_is_wanted_on_two_nodes(castle: Castle) -> None:
    take(one(castle, "traefik-release"), "values.updateStrategy")


@case("one_node_at_a_time_for_a_volume", "traefik-release", "use Recreate", on_host_network=True)
def a_new_pod_comes_before_the_old_one_goes(castle: Castle) -> None:
    path = "values.updateStrategy.rollingUpdate.maxSurge"
    put(one(castle, "traefik-release"), path, 1)


@case("acme_file_is_private", "traefik-release", "too open: no fsGroup")
def certificates_belong_to_a_group(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.podSecurityContext.fsGroup", 65532)


@case("acme_file_is_private", "traefik-release", "must lie on a volume of ours")
def certificates_go_with_the_release(castle: Castle) -> None:
    take(one(castle, "traefik-release"), "values.persistence.existingClaim")


@case("acme_file_is_private", "traefik-release", "made before it")
def traefik_does_not_wait_for_its_volume(castle: Castle) -> None:
    forget(one(castle, "traefik-release"), "::traefik-certificates")


@case("services_get_an_address_of_the_pool", "traefik-release", "by MetalLB's annotation")
def a_service_names_no_address(castle: Castle) -> None:
    take(one(castle, "traefik-release"), "values.service.annotations")


@case("services_get_an_address_of_the_pool", "traefik-release", "and only there")
def a_service_names_its_address_twice(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.service.spec.loadBalancerIP", "192.168.1.240")


@case("services_get_an_address_of_the_pool", "traefik-release", "after the pool of its address")
def traefik_does_not_wait_for_its_address(castle: Castle) -> None:
    forget(one(castle, "traefik-namespace"), "::metallb-advertisement")


@case("claims_wait_for_their_class", "traefik-certificates", "nothing orders it after Longhorn")
def a_claim_does_not_wait_for_its_class(castle: Castle) -> None:
    forget(one(castle, "traefik-namespace"), "::longhorn-release", "::longhorn-storage")


@case(
    "host_network_works",
    "traefik-release",
    "needs nodeSelector of a control plane",
    on_host_network=True,
)
def the_host_network_is_anywhere(castle: Castle) -> None:
    take(one(castle, "traefik-release"), "values.nodeSelector")


@case(
    "host_network_works", "traefik-release", "needs toleration of its taint", on_host_network=True
)
def the_taint_is_not_tolerated(castle: Castle) -> None:
    take(one(castle, "traefik-release"), "values.tolerations")


@case("host_network_works", "traefik-release", "needs root", on_host_network=True)
def port_80_is_opened_without_root(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.podSecurityContext.runAsUser", 65532)


@case("host_network_works", "traefik-release", "ClusterFirstWithHostNet", on_host_network=True)
def the_cluster_has_no_names_on_the_host_network(castle: Castle) -> None:
    take(one(castle, "traefik-release"), "values.deployment.dnsPolicy")


@case("host_network_works", "traefik-release", "hostPort equal to port", on_host_network=True)
def a_host_port_is_another(castle: Castle) -> None:
    put(one(castle, "traefik-release"), "values.ports.web.port", 8000)


@case("routes_wait_for_traefik", "whoami-route", "nothing orders it after Traefik's chart")
def a_route_does_not_wait_for_its_kind(castle: Castle) -> None:
    forget(one(castle, "whoami-route"), "::traefik-release")


@case(
    "flux_can_be_removed",
    "flux-instance",
    "FluxUninstall does not come after it",
    with_flux=True,
)
def flux_is_deleted_before_its_removal(castle: Castle) -> None:
    forget(one(castle, "flux-uninstall"), "::flux-instance")


@case("flux_can_be_removed", "flux-source", "must be deleted_with FluxUninstall", with_flux=True)
def a_repository_waits_for_a_dead_controller(castle: Castle) -> None:
    one(castle, "flux-source").deleted_with = one(castle, "cluster-secrets").urn


@case("the_dying_cluster_is_not_asked", "flux-uninstall", "must be deleted_with", with_flux=True)
def the_removal_of_flux_asks_a_dying_cluster(castle: Castle) -> None:
    one(castle, "flux-uninstall").deleted_with = None


@case("secrets_are_secret", "flux-castle-git", "stringData would stand", with_flux=True)
def a_deploy_key_is_plain(castle: Castle) -> None:
    put(one(castle, "flux-castle-git"), "stringData", {"identity": "open sesame"})


@case(
    "applications_outlive_their_kustomization",
    "flux-kustomization",
    "needs deletionPolicy Orphan",
    with_flux=True,
)
def what_was_applied_goes_with_its_kustomization(castle: Castle) -> None:
    take(one(castle, "flux-kustomization"), "spec.deletionPolicy")


@case("sources_wait_for_flux", "flux-source", "no matches for kind", with_flux=True)
def a_repository_does_not_wait_for_its_kind(castle: Castle) -> None:
    forget(one(castle, "flux-source"), "::flux-ready")


@case(
    "secrets_come_before_their_use",
    "flux-source",
    "nothing orders it after its secret castle-git",
    with_flux=True,
)
def a_repository_does_not_wait_for_its_key(castle: Castle) -> None:
    forget(one(castle, "flux-source"), "::flux-castle-git")


# The tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_what_would_be_refused_is_found(
    name: str, homelab: Rehearsal, host_network: Rehearsal, gitops: Rehearsal
) -> None:
    found = CASES[name]
    other = host_network if found.on_host_network else gitops
    begin = other if found.on_host_network or found.with_flux else homelab
    castle = deepcopy(begin.castle)
    found.break_it(castle)
    said = [
        finding
        for finding in rules.findings(castle)
        if finding.rule == found.rule and finding.resource == found.resource
    ]
    assert [finding for finding in said if found.words in finding.message], said


@pytest.mark.parametrize("rule", rules.RULES)
def test_every_rule_has_a_case(rule: str) -> None:
    assert rule in {found.rule for found in CASES.values()}, f"write a case that breaks {rule}"


def test_every_case_is_of_a_rule() -> None:
    assert {found.rule for found in CASES.values()} <= rules.RULES.keys()


@pytest.mark.parametrize("rule", rules.RULES)
def test_every_rule_names_its_source_and_its_reason(rule: str) -> None:
    check, source = rules.RULES[rule]
    assert source.strip()
    assert check.__doc__


def test_the_castle_as_it_is_would_be_refused_nothing(
    homelab: Rehearsal, host_network: Rehearsal, gitops: Rehearsal
) -> None:
    assert rules.findings(homelab.castle) == []
    assert rules.findings(host_network.castle) == []
    assert rules.findings(gitops.castle) == []


def test_breaking_a_copy_leaves_the_castle_as_it_is(homelab: Rehearsal, castle: Castle) -> None:
    a_machine_has_no_id(castle)
    assert one(homelab.castle, VM).plain("vmId") == 8010


def test_a_finding_names_its_resource_its_message_and_its_source() -> None:
    finding = rules.Finding("rule", "machine", "needs a name", "facts/x.md 1")
    assert str(finding) == "machine: needs a name [facts/x.md 1]"
    assert str(rules.Finding("rule", "machine", "needs a name", "")) == "machine: needs a name"


def test_an_empty_castle_breaks_no_rule() -> None:
    assert rules.findings(Castle()) == []


# What the rules read ------------------------------------------------------------------------------


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
    assert machine_config.main(patched)["machine"]["type"] == "worker"
    interfaces = machine_config.main(patched)["machine"]["network"]["interfaces"]
    assert interfaces == [{"dhcp": False}, {"dhcp": True}]
    (host_name,) = machine_config.of_kind(patched, "HostnameConfig")
    assert host_name["auto"] == "off"
    assert host_name["apiVersion"] == "v1alpha1"
    assert len(machine_config.of_kind(patched, "UserVolumeConfig")) == 2


def test_a_secret_is_never_printed() -> None:
    assert "open sesame" not in f"{Secret('open sesame')} {Secret({'key': 'open sesame'})!r}"
