"""What Talos and its provider refuse: secrets, machine configs, the beginning of a cluster."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator
from typing import Any

from rehearsal import machine_config
from rehearsal.record import Recording, Resource
from rehearsal.rules.book import rule
from rehearsal.values import reveal
from settings.resource_types import APPLY, BOOTSTRAP, MACHINE, READY, SCHEMATIC, SECRETS


@rule("facts/providers.md A3.1")
def invokes_get_camel_case(recording: Recording) -> Iterator[tuple[str, str]]:
    """An invoke does not turn the snake_case keys of an output into camelCase."""
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


@rule("facts/providers.md A3.1")
def configurations_get_all_secrets(recording: Recording) -> Iterator[tuple[str, str]]:
    """The provider makes no machine config with a part of the secrets."""
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


@rule("facts/providers.md A3.2 (pulumi-talos#252)")
def talos_timeouts_are_whole(recording: Recording) -> Iterator[tuple[str, str]]:
    """A part of the fields fails after the call; none at all waits for ten minutes unasked."""
    fields = {"create", "update", "delete"}
    for resource in recording.of_type(APPLY):
        missing = fields - set(resource.plain("timeouts", {}))
        if missing:
            yield resource.name, f"timeouts must have every field: {', '.join(sorted(missing))}"


@rule("facts/end-to-end.md 9: asked twice, it loops until its time is up, and cannot be imported")
def bootstrap_is_safe_to_repeat(recording: Recording) -> Iterator[tuple[str, str]]:
    """The talos provider's own Bootstrap takes a cluster that has begun for a failure."""
    for resource in recording.of_type("talos:machine/bootstrap:Bootstrap"):
        yield resource.name, "is the provider's Bootstrap: an `up` that was cut off cannot go on"


def configs(recording: Recording) -> Iterator[tuple[Resource, list[machine_config.Document]]]:
    """Each ConfigurationApply with the documents that its machine would receive."""
    for apply in recording.of_type(APPLY):
        patches = apply.plain("configPatches") or ()
        yield apply, _documents(str(apply.plain("machineConfigurationInput")), tuple(patches))


@functools.lru_cache(maxsize=1024)  # nearly every rule on Talos reads them, and YAML is slow
def _documents(configuration: str, patches: tuple[str, ...]) -> list[machine_config.Document]:
    return machine_config.patch(machine_config.load(configuration), patches)


def _interfaces(documents: list[machine_config.Document]) -> list[dict[str, Any]]:
    network = machine_config.main(documents).get("machine", {}).get("network", {})
    found: list[dict[str, Any]] = network.get("interfaces", [])
    return found


@rule("siderolabs/talos: virtual (shared) IP is not allowed on non-controlplane nodes")
def vip_on_control_planes_only(recording: Recording) -> Iterator[tuple[str, str]]:
    """A worker with a VIP refuses its config; a cluster without one has no API address."""
    for apply, documents in configs(recording):
        worker = machine_config.main(documents)["machine"]["type"] == "worker"
        has_vip = any("vip" in interface for interface in _interfaces(documents))
        if worker and has_vip:
            yield apply.name, "virtual (shared) IP is not allowed on non-controlplane nodes"
        if not worker and not has_vip:
            yield apply.name, "carries no VIP, so nothing answers at the cluster's endpoint"


@rule("facts/end-to-end.md 1-4; siderolabs/talos v1.12 HostnameConfig")
def host_names_are_static(recording: Recording) -> Iterator[tuple[str, str]]:
    """One HostnameConfig with auto off; a name beside it in the old place is refused."""
    for apply, documents in configs(recording):
        network = machine_config.main(documents)["machine"].get("network", {})
        found = machine_config.of_kind(documents, "HostnameConfig")
        if "hostname" in network:
            yield apply.name, "static hostname is already set in v1alpha1 config"
        elif not found or found[0].get("auto") != "off" or not found[0].get("hostname"):
            yield apply.name, "needs a HostnameConfig with auto 'off' and a hostname"


@rule("siderolabs/talos#9276: the VIP lives by etcd, so it cannot be how etcd is repaired")
def talos_is_not_reached_by_the_vip(recording: Recording) -> Iterator[tuple[str, str]]:
    """The Talos endpoint is a machine's own address."""
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


@rule("siderolabs/talos#8625; design: the same schematic in image and install image")
def install_image_is_the_images(recording: Recording) -> Iterator[tuple[str, str]]:
    """An upgrade must keep the extensions, and the nocloud platform."""
    ids = {schematic.id for schematic in recording.of_type(SCHEMATIC)}
    for apply, documents in configs(recording):
        install = machine_config.main(documents)["machine"].get("install", {}).get("image", "")
        path, _, _ = install.rpartition(":")
        if not path.endswith(tuple(f"/nocloud-installer/{id_}" for id_ in ids)) or not ids:
            yield (
                apply.name,
                f"{install or 'no image'} is not the nocloud installer of our schematic",
            )


@rule("facts/charts.md 4; siderolabs/talos#9225")
def data_disks_are_found_by_size(recording: Recording) -> Iterator[tuple[str, str]]:
    """The selector is true for the data disk, and for nothing else."""
    machines = {_address(machine): machine for machine in recording.of_type(MACHINE)}
    for apply, documents in configs(recording):
        machine = machines.get(apply.plain("node"))
        sizes = [disk["size"] for disk in machine.plain("disks", [])] if machine else []
        own, others = machine_config.user_volumes(documents)
        if len(sizes) > 1 and not own:
            yield apply.name, "its machine has a data disk that no UserVolumeConfig takes"
        for volume in own:
            match = _selector(volume)
            if "!system_disk" not in match:
                yield apply.name, f"{match} may take the system disk"
            if [size for size in sizes if _selects(match, size)] != sizes[1:]:
                yield apply.name, f"{match} does not tell disks of {sizes} GiB apart"
        for volume in others:
            # Longhorn's volume needs its whole disk: a partition beside it leaves too little.
            if any(_is_sure_to_select(_selector(volume), size) for size in sizes[1:]):
                yield apply.name, f"the volume {volume['name']} takes Longhorn's data disk"


def _selector(volume: machine_config.Document) -> str:
    """The CEL expression by which a volume finds its disk; empty if it asks for none."""
    selector = (volume.get("provisioning") or {}).get("diskSelector") or {}
    return str(selector.get("match", ""))


def _selects(match: str, size_gib: int) -> bool:
    low = re.search(r"disk\.size >= (\d+)u \* GiB", match)
    high = re.search(r"disk\.size < (\d+)u \* GiB", match)
    return bool(low and high and int(low[1]) <= size_gib < int(high[1]))


_COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def _is_sure_to_select(match: str, size_gib: int) -> bool:
    """Whether an expression is true for every disk of this size that is not the system disk.

    Only Talos itself reads all of CEL: an expression with anything else in it, such as the name of
    a device, is left to the user.
    """
    for term in match.split("&&"):
        size = re.fullmatch(r"disk\.size\s*([<>]=?)\s*(\d+)u?\s*\*\s*GiB", term.strip())
        is_true = _COMPARED[size[1]](size_gib, int(size[2])) if size else False
        if term.strip() != "!system_disk" and not is_true:
            return False
    return True


@rule("design: declared, never discovered")
def one_name_and_address_each(recording: Recording) -> Iterator[tuple[str, str]]:
    """A machine, its config and its Kubernetes node have one name and one address."""
    machines = {_address(machine): machine.plain("name") for machine in recording.of_type(MACHINE)}
    gates = {
        node["address"]: name
        for gate in recording.of_type(READY)
        for name, node in gate.plain("nodes").items()
    }
    for apply, documents in configs(recording):
        address = apply.plain("node")
        hostname = machine_config.of_kind(documents, "HostnameConfig")[0].get("hostname")
        static = [entry for it in _interfaces(documents) for entry in it.get("addresses", ())]
        if not any(entry.partition("/")[0] == address for entry in static):
            yield apply.name, f"is sent to {address}, but declares {', '.join(static) or 'nothing'}"
        for what, names in (("machine", machines), ("gate", gates)):
            if names.get(address) != hostname:
                yield apply.name, f"{address}: host {hostname}, {what} {names.get(address)}"


def _address(machine: Resource) -> str:
    configs = machine.plain("initialization", {}).get("ipConfigs", [{}])
    address: str = configs[0].get("ipv4", {}).get("address", "")
    return address.partition("/")[0]


@rule("facts/providers.md A3.7")
def configs_follow_their_machine(recording: Recording) -> Iterator[tuple[str, str]]:
    """A config waits for its machine, is sent again to a new one, and goes with it."""
    machines = {_address(machine): machine.urn for machine in recording.of_type(MACHINE)}
    for apply in recording.of_type(APPLY):
        urn = machines.get(apply.plain("node"))
        if urn is None or urn not in recording.before(apply):
            yield apply.name, "nothing orders it after its machine"
        elif urn != apply.deleted_with or urn not in apply.replace_with:
            yield apply.name, "must be deleted_with and replace_with its machine"


@rule("siderolabs/talos v1alpha1: Bootstrap on a worker, or a second one, is refused")
def bootstrapped_once(recording: Recording) -> Iterator[tuple[str, str]]:
    """Exactly one control plane is told to begin, after it has its config."""
    found = list(recording.of_type(BOOTSTRAP))
    if len(found) != 1 and list(recording.of_type(APPLY)):
        yield "bootstrap", f"{len(found)} bootstraps: etcd begins exactly once"
    first = {a.plain("node"): a for a, d in configs(recording) if is_control_plane(d)}
    for bootstrap in found:
        apply = first.get(bootstrap.plain("node"))
        if apply is None:
            yield bootstrap.name, "is sent to what is no control plane"
        elif apply.urn not in recording.before(bootstrap):
            yield bootstrap.name, "nothing orders it after the config of its control plane"


def is_control_plane(documents: list[machine_config.Document]) -> bool:
    return bool(machine_config.main(documents)["machine"]["type"] == "controlplane")


@rule("terraform-provider-talos#381")
def secrets_keep_their_contract(recording: Recording) -> Iterator[tuple[str, str]]:
    """Another Talos version must not make new secrets for a living cluster."""
    for secrets in recording.of_type(SECRETS):
        if "talosVersion" not in secrets.ignore_changes:
            yield secrets.name, "needs ignore_changes=['talosVersion']"
