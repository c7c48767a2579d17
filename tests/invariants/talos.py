"""Invariants of Talos and its provider: secrets, machine configs and the bootstrap."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rehearsal.machine_config import Document
from rehearsal.record import Recording, Resource
from rehearsal.values import reveal
from settings.resource_types import APPLY, BOOTSTRAP, MACHINE, READY, SCHEMATIC, SECRETS
from tests.invariants.documents import configs, longhorn_volumes, main, of_kind
from tests.invariants.registry import invariant


@invariant("pulumi-talos: Must set ... k8s_serviceaccount")
def invokes_get_camel_case(recording: Recording) -> Iterator[tuple[str, str]]:
    """Arguments of invokes have camelCase keys: the SDK does not convert keys of outputs."""
    for call in recording.invokes:
        snakes = sorted(_snake_keys(reveal(call.args)))
        if snakes:
            yield call.token, f"Must set {', '.join(snakes)} in camelCase: use typed arguments"


def _snake_keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {key for key in value if "_" in key}
        return own.union(*map(_snake_keys, value.values()))
    if isinstance(value, list):
        return set().union(*map(_snake_keys, value))
    return set()


@invariant("pulumi-talos: Must set machineSecrets")
def configurations_get_all_secrets(recording: Recording) -> Iterator[tuple[str, str]]:
    """Each getConfiguration call passes all machine secrets: the provider requires them."""
    wanted = {
        "certs": {"etcd", "k8s", "k8sAggregator", "k8sServiceaccount", "os"},
        "cluster": {"id", "secret"},
        "secrets": {"bootstrapToken", "secretboxEncryptionSecret"},
        "trustdinfo": {"token"},
    }
    for call in recording.invokes:
        if call.token != "talos:machine/getConfiguration:getConfiguration":
            continue
        secrets = reveal(call.args).get("machineSecrets") or {}
        for group, keys in wanted.items():
            if missing := keys - set(secrets.get(group, {})):
                yield call.token, f"Must set machineSecrets.{group}.{', '.join(sorted(missing))}"


@invariant("pulumiverse/pulumi-talos#252")
def talos_timeouts_are_complete(recording: Recording) -> Iterator[tuple[str, str]]:
    """ConfigurationApply sets all timeouts. With some of them it fails after the call; without them
    it waits for 10 minutes."""
    fields = {"create", "update", "delete"}
    for resource in recording.of_type(APPLY):
        missing = fields - set(resource.plain("timeouts", {}))
        if missing:
            yield resource.name, f"timeouts lack {', '.join(sorted(missing))}"


@invariant("pulumi-talos Bootstrap: retries AlreadyExists until its timeout; cannot be imported")
def the_provider_bootstrap_is_not_used(recording: Recording) -> Iterator[tuple[str, str]]:
    """The provider's Bootstrap is not used: it fails if the cluster is already bootstrapped."""
    for resource in recording.of_type("talos:machine/bootstrap:Bootstrap"):
        yield (
            resource.name,
            "is the provider's Bootstrap: `up` cannot continue an interrupted `up`",
        )


def _interfaces(documents: list[Document]) -> list[dict[str, Any]]:
    network = main(documents).get("machine", {}).get("network", {})
    found: list[dict[str, Any]] = network.get("interfaces", [])
    return found


@invariant("siderolabs/talos: virtual (shared) IP is not allowed on non-controlplane nodes")
def vip_on_control_planes_only(recording: Recording) -> Iterator[tuple[str, str]]:
    """Control planes have the VIP, workers do not."""
    for apply, documents in configs(recording):
        worker = main(documents)["machine"]["type"] == "worker"
        has_vip = any("vip" in interface for interface in _interfaces(documents))
        if worker and has_vip:
            yield apply.name, "virtual (shared) IP is not allowed on non-controlplane nodes"
        if not worker and not has_vip:
            yield apply.name, "has no VIP, so it cannot answer at the cluster endpoint"


@invariant("siderolabs/talos v1.12 HostnameConfig")
def host_names_are_static(recording: Recording) -> Iterator[tuple[str, str]]:
    """The host name is in a HostnameConfig with auto off. Talos rejects a second one in
    machine.network.hostname."""
    for apply, documents in configs(recording):
        network = main(documents)["machine"].get("network", {})
        found = of_kind(documents, "HostnameConfig")
        if "hostname" in network:
            yield apply.name, "static hostname is already set in v1alpha1 config"
        elif not found or found[0].get("auto") != "off" or not found[0].get("hostname"):
            yield apply.name, "needs a HostnameConfig with auto 'off' and a hostname"


@invariant("siderolabs/talos#9276: the VIP needs etcd, so it cannot be used to repair etcd")
def talos_endpoints_are_not_the_vip(recording: Recording) -> Iterator[tuple[str, str]]:
    """The Talos endpoint is the address of a node, not the VIP."""
    vips = {
        interface["vip"]["ip"]
        for _, documents in configs(recording)
        for interface in _interfaces(documents)
        if "vip" in interface
    }
    for resource in recording.of_type(APPLY, BOOTSTRAP):
        for name in ("node", "endpoint"):
            if resource.plain(name) in vips:
                yield resource.name, f"its {name} is the VIP"


@invariant("siderolabs/talos#8625")
def install_image_has_the_schematic_of_the_image(recording: Recording) -> Iterator[tuple[str, str]]:
    """The install image has the same schematic and platform as the boot image. Otherwise an upgrade
    removes the system extensions."""
    ids = {schematic.id for schematic in recording.of_type(SCHEMATIC)}
    for apply, documents in configs(recording):
        install = main(documents)["machine"].get("install", {}).get("image", "")
        path, _, _ = install.rpartition(":")
        if not path.endswith(tuple(f"/nocloud-installer/{id_}" for id_ in ids)) or not ids:
            yield (
                apply.name,
                f"{install or 'no image'} is not the nocloud installer of the schematic",
            )


@invariant("siderolabs/talos#9225")
def data_disks_are_found_by_size(recording: Recording) -> Iterator[tuple[str, str]]:
    """The disk selector of Longhorn's user volume matches the data disk and no other disk."""
    vms = {_address(vm): vm for vm in recording.of_type(MACHINE)}
    for apply, documents in configs(recording):
        vm = vms.get(apply.plain("node"))
        sizes = [disk["size"] for disk in vm.plain("disks", [])] if vm else []
        own = longhorn_volumes(documents)
        if len(sizes) > 1 and not own:
            yield apply.name, "its VM has a data disk that no UserVolumeConfig uses"
        for volume in own:
            match = _selector(volume)
            if "!system_disk" not in match:
                yield apply.name, f"{match} may match the system disk"
            if [size for size in sizes if _selects(match, size)] != sizes[1:]:
                yield apply.name, f"{match} does not distinguish disks of {sizes} GiB"


def _selector(volume: Document) -> str:
    """Return the CEL expression that selects the disk of a volume, or an empty string."""
    selector = (volume.get("provisioning") or {}).get("diskSelector") or {}
    return str(selector.get("match", ""))


def _selects(match: str, size_gib: int) -> bool:
    low = re.search(r"disk\.size >= (\d+)u \* GiB", match)
    high = re.search(r"disk\.size < (\d+)u \* GiB", match)
    return bool(low and high and int(low[1]) <= size_gib < int(high[1]))


@invariant("this program: a node has one name and one address everywhere")
def nodes_have_one_name_and_address(recording: Recording) -> Iterator[tuple[str, str]]:
    """A VM, its machine config and its Kubernetes node have the same name and the same address."""
    machines = {_address(vm): vm.plain("name") for vm in recording.of_type(MACHINE)}
    awaited = {
        node["address"]: name
        for readiness in recording.of_type(READY)
        for name, node in readiness.plain("nodes").items()
    }
    for apply, documents in configs(recording):
        address = apply.plain("node")
        hostname = of_kind(documents, "HostnameConfig")[0].get("hostname")
        static = [entry for it in _interfaces(documents) for entry in it.get("addresses", ())]
        if not any(entry.partition("/")[0] == address for entry in static):
            yield (
                apply.name,
                f"is sent to {address}, but declares {', '.join(static) or 'none'}",
            )
        for what, names in (("VM", machines), ("readiness", awaited)):
            if names.get(address) != hostname:
                yield apply.name, f"{address}: host name {hostname}, {what} {names.get(address)}"


def _address(vm: Resource) -> str:
    configs = vm.plain("initialization", {}).get("ipConfigs", [{}])
    address: str = configs[0].get("ipv4", {}).get("address", "")
    return address.partition("/")[0]


@invariant("pulumi-talos: a replaced VM does not get its machine config again")
def machine_configs_follow_their_vm(recording: Recording) -> Iterator[tuple[str, str]]:
    """A machine config depends on its VM, is replaced with the VM, and is deleted with the VM."""
    machines = {_address(vm): vm.urn for vm in recording.of_type(MACHINE)}
    for apply in recording.of_type(APPLY):
        urn = machines.get(apply.plain("node"))
        if urn is None or urn not in recording.before(apply):
            yield apply.name, "has no dependency on its VM"
        elif urn != apply.deleted_with or urn not in apply.replace_with:
            yield apply.name, "must be deleted_with and replace_with its VM"


@invariant("siderolabs/talos machine API: rejects Bootstrap on a worker and a second Bootstrap")
def one_control_plane_is_bootstrapped(recording: Recording) -> Iterator[tuple[str, str]]:
    """One control plane is bootstrapped, after it gets its machine config."""
    found = list(recording.of_type(BOOTSTRAP))
    if len(found) != 1 and list(recording.of_type(APPLY)):
        yield "bootstrap", f"{len(found)} bootstraps: etcd is bootstrapped exactly once"
    first = {a.plain("node"): a for a, d in configs(recording) if is_control_plane(d)}
    for bootstrap in found:
        apply = first.get(bootstrap.plain("node"))
        if apply is None:
            yield bootstrap.name, "is not sent to a control plane"
        elif apply.urn not in recording.before(bootstrap):
            yield bootstrap.name, "has no dependency on the machine config of its control plane"


def is_control_plane(documents: list[Document]) -> bool:
    """Return whether a machine config is for a control plane."""
    return bool(main(documents)["machine"]["type"] == "controlplane")


@invariant("siderolabs/terraform-provider-talos#381")
def machine_secrets_ignore_the_talos_version(recording: Recording) -> Iterator[tuple[str, str]]:
    """Another Talos version does not create new machine secrets for an existing cluster."""
    for secrets in recording.of_type(SECRETS):
        if "talosVersion" not in secrets.ignore_changes:
            yield secrets.name, "needs ignore_changes=['talosVersion']"
