"""What the real thing refuses, each as a small rule with its source.

A rule looks at the whole castle and yields what it would be refused for. Sources named ``facts/``
are this project's own measurements with the real engine, providers and charts; see
``docs/rehearsal.md``.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rehearsal import machine_config
from rehearsal.record import Castle, Resource
from rehearsal.values import Secret, reveal

SCHEMATIC = "talos:imageFactory/schematic:Schematic"
FILE = "proxmoxve:download/file:File"
MACHINE = "proxmoxve:index/vmLegacy:VmLegacy"
SECRETS = "talos:machine/secrets:Secrets"
APPLY = "talos:machine/configurationApply:ConfigurationApply"
BOOTSTRAP = "pulumi-python:dynamic/castle:Bootstrap"
READY = "pulumi-python:dynamic/castle:NodeReady"
LIFE = "pulumi-python:dynamic/castle:NodeLife"
BIRTH = "pulumi-python:dynamic/castle:NodeBirth"
SNAPSHOT = "pulumi-python:dynamic/castle:EtcdSnapshot"
ROLLOUT = "pulumi-python:dynamic/castle:ConfigRollout"
KUBERNETES_VERSION = "pulumi-python:dynamic/castle:KubernetesVersion"
PROVIDER = "pulumi:providers:kubernetes"
NAMESPACE = "kubernetes:core/v1:Namespace"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
RELEASE = "kubernetes:helm.sh/v3:Release"
POOL = "kubernetes:metallb.io/v1beta1:IPAddressPool"
ADVERTISEMENT = "kubernetes:metallb.io/v1beta1:L2Advertisement"
ROUTE = "kubernetes:traefik.io/v1alpha1:IngressRoute"
INSTANCE = "kubernetes:fluxcd.controlplane.io/v1:FluxInstance"
SOURCE = "kubernetes:source.toolkit.fluxcd.io/v1:GitRepository"
KUSTOMIZATION = "kubernetes:kustomize.toolkit.fluxcd.io/v1:Kustomization"
UNINSTALL = "pulumi-python:dynamic/castle:FluxUninstall"
FLUX_READY = "pulumi-python:dynamic/castle:FluxReady"
SECRET = "kubernetes:core/v1:Secret"


@dataclass(frozen=True)
class Finding:
    """One refusal: by which rule, of which resource, what would be said, and who says so."""

    rule: str
    resource: str
    """Name of the resource."""
    message: str
    source: str

    def __str__(self) -> str:
        source = f" [{self.source}]" if self.source else ""
        return f"{self.resource}: {self.message}{source}"


Check = Callable[[Castle], Iterator[tuple[str, str]]]
"""Yields pairs of a resource's name and what would be said of it."""

RULES: dict[str, tuple[Check, str]] = {}
"""Every rule by its name, with its source."""


def rule(source: str) -> Callable[[Check], Check]:
    """Make a function a rule; ``source`` says who refuses."""

    def add(check: Check) -> Check:
        RULES[check.__name__] = (check, source)
        return check

    return add


def findings(castle: Castle) -> list[Finding]:
    """All that the real thing would refuse."""
    found = []
    for name, (check, source) in RULES.items():
        try:
            found += [Finding(name, resource, said, source) for resource, said in check(castle)]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # What a rule looks at is not there at all: refused too, though by a worse message.
            found.append(Finding(name, "castle", f"cannot be looked at: {error!r}", source))
    return found


# The engine ---------------------------------------------------------------------------------------


@rule("pulumi: Duplicate resource URN")
def names_are_unique(castle: Castle) -> Iterator[tuple[str, str]]:
    """Two resources of one URN end an update."""
    for urn, count in Counter(resource.urn for resource in castle.resources).items():
        if count > 1:
            yield urn.rpartition("::")[2], f"{count} resources have the URN {urn}"


@rule("pulumi: Default provider disabled (pulumi:disable-default-providers)")
def providers_are_chosen(castle: Castle) -> Iterator[tuple[str, str]]:
    """A forgotten provider would be a default one: another cluster, another account. That of
    dynamic resources is switched off with the others (found with the real engine)."""
    for resource in castle.resources:
        if resource.custom and not resource.type.startswith("pulumi:") and not resource.provider:
            yield resource.name, "no provider was chosen, and the default ones are switched off"


@rule("facts/end-to-end.md 13")
def secrets_are_secret(castle: Castle) -> Iterator[tuple[str, str]]:
    """What opens the house is never plain in the state."""
    wanted = {
        APPLY: ("machineConfigurationInput",),
        PROVIDER: ("kubeconfig",),
        READY: ("client_key",),
        UNINSTALL: ("kubeconfig",),
        FLUX_READY: ("kubeconfig",),
        SECRET: ("data", "stringData"),
        LIFE: ("client_key", "proxmox_token"),
        ROLLOUT: ("client_key", "configuration"),
        BIRTH: ("access", "client_key", "proxmox_token"),
        SNAPSHOT: ("client_key",),
        KUBERNETES_VERSION: ("client_key",),
        "pulumi:providers:proxmoxve": ("apiToken",),
    }
    for resource in castle.resources:
        for name in wanted.get(resource.type, ()):
            if name in resource.inputs and not resource.is_secret(name):
                yield resource.name, f"{name} would stand in the state in plain text"
    for name, value in castle.outputs.items():
        if name in ("kubeconfig", "talosconfig") and not isinstance(value, Secret):
            yield name, "this output would be shown in plain text"


@rule("facts/end-to-end.md 6: left alone, all machines are power-cycled at the same time")
def nodes_are_changed_one_at_a_time(castle: Castle) -> Iterator[tuple[str, str]]:
    """The engine takes in parallel what nothing orders, and two nodes down together may be etcd's
    end. A config that came before the upgrades would reach all nodes at once."""
    lives = list(castle.of_type(LIFE))
    for earlier, later in pairwise([*lives, *castle.of_type(ROLLOUT)]):
        if earlier.urn not in castle.before(later):
            yield later.name, f"nothing orders it after {earlier.name}: both would go down together"
    for apply in castle.of_type(APPLY):
        if apply.plain("applyMode") != "no_reboot":
            yield apply.name, "the config would reboot its node together with the others"
        if apply.plain("node") not in {
            rollout.plain("address")
            for rollout in castle.of_type(ROLLOUT)
            if rollout.urn in castle.before(apply)
        }:
            yield apply.name, "the config would reach its node before its turn"
        if not {life.urn for life in lives} <= castle.before(apply):
            yield apply.name, "the config would reach its node before all nodes are upgraded"
    for machine in castle.of_type(MACHINE):
        if machine.plain("rebootAfterUpdate") is not False:
            yield machine.name, "the provider would power-cycle it together with the others"


# Proxmox ------------------------------------------------------------------------------------------


@rule("facts/providers.md A3.9")
def image_file_names_tell_images_apart(castle: Castle) -> Iterator[tuple[str, str]]:
    """Pulumi creates before it deletes: a new image under an old name is refused."""
    for file in castle.of_type(FILE):
        name, url = str(file.plain("fileName")), str(file.plain("url"))
        parts = re.search(r"/image/([0-9a-f]{64})/(v[\d.]+)/", url)
        if parts is None:
            yield file.name, f"{url} names no schematic and version"
        elif not all(part in name for part in parts.groups()):
            yield file.name, f"{name} must hold the version and the schematic of {url}"


@rule("facts/providers.md A3.10")
def images_can_be_unpacked(castle: Castle) -> Iterator[tuple[str, str]]:
    """Proxmox imports qcow2, and unpacks no xz."""
    for file in castle.of_type(FILE):
        if file.plain("contentType") != "import":
            yield file.name, "contentType must be import, or a disk cannot be imported from it"
        if not str(file.plain("url")).endswith(".qcow2"):
            yield file.name, "Proxmox cannot unpack this: take the qcow2 image"


@rule("facts/end-to-end.md 8")
def schematic_changes_reach_the_image(castle: Castle) -> Iterator[tuple[str, str]]:
    """An update in place keeps the old schematic's id for ever."""
    for schematic in castle.of_type(SCHEMATIC):
        if "schematic" not in schematic.replace_on_changes:
            yield schematic.name, "needs replace_on_changes=['schematic']"


@rule("facts/providers.md A3.6, facts/end-to-end.md 9")
def machines_are_declared(castle: Castle) -> Iterator[tuple[str, str]]:
    """Ids and MAC addresses are fixed, and no two machines share one."""
    seen: dict[tuple[str, Any], str] = {}
    for machine in castle.of_type(MACHINE):
        devices = machine.plain("networkDevices", [])
        facts = [("vmId", machine.plain("vmId"))]
        facts += [("macAddress", device.get("macAddress")) for device in devices]
        for what, value in facts:
            if not value:
                yield machine.name, f"has no fixed {what}"
            elif (other := seen.setdefault((what, value), machine.name)) != machine.name:
                yield machine.name, f"has the {what} {value} of {other}"


@rule("facts/providers.md A3.4; bpg: q35 has only ide0 and ide2")
def machines_boot_from_their_disk(castle: Castle) -> Iterator[tuple[str, str]]:
    """Without a cdrom of ours the provider adds the host's drive and boots from it."""
    for machine in castle.of_type(MACHINE):
        cdrom = machine.plain("cdrom", {})
        if cdrom.get("fileId") != "none":
            yield machine.name, "needs cdrom fileId none, or it gets the host's physical drive"
        if not machine.plain("bootOrders"):
            yield machine.name, "needs bootOrders, or it boots from the cdrom"
        drives = [cdrom.get("interface", "ide3"), machine.plain("initialization", {})["interface"]]
        if machine.plain("machine") == "q35" and not set(drives) <= {"ide0", "ide2"}:
            yield machine.name, f"q35 has only ide0 and ide2, not {', '.join(drives)}"
        if len(set(drives)) < len(drives):
            yield machine.name, f"two drives on {drives[0]}"


@rule("facts/providers.md A3.3 (pulumi-proxmoxve#664), facts/end-to-end.md 8")
def machines_have_no_permanent_diff(castle: Castle) -> Iterator[tuple[str, str]]:
    """One path a disk for its speed, and a new image does not touch a machine that runs."""
    for machine in castle.of_type(MACHINE):
        disks = machine.plain("disks", [])
        wanted = {f"disks[{index}].speed" for index in range(len(disks))}
        wanted |= {f"disks[{i}].importFrom" for i, disk in enumerate(disks) if "importFrom" in disk}
        if missing := wanted - set(machine.ignore_changes):
            yield machine.name, f"needs ignore_changes of {', '.join(sorted(missing))}"


@rule("bpg docs/guides/vm-lifecycle.md; facts/providers.md B6")
def machines_are_switched_off_on_destroy(castle: Castle) -> Iterator[tuple[str, str]]:
    """Without stop_on_destroy Proxmox asks a dying machine to shut down, for half an hour."""
    for machine in castle.of_type(MACHINE):
        if machine.plain("stopOnDestroy") is not True:
            yield machine.name, "needs stop_on_destroy"


@rule("bpg#2084, siderolabs/talos#11651")
def machines_do_not_wait_for_an_agent(castle: Castle) -> Iterator[tuple[str, str]]:
    """Talos starts the guest agent only once it is configured."""
    for machine in castle.of_type(MACHINE):
        agent = machine.plain("agent", {})
        if agent.get("enabled") and not agent.get("waitForIp", {}).get("disabled"):
            yield machine.name, "would wait for an agent that runs only after its configuration"


@rule("facts/providers.md A2")
def disks_need_no_ssh(castle: Castle) -> Iterator[tuple[str, str]]:
    """file_id imports over SSH; import_from uses the API."""
    for machine in castle.of_type(MACHINE):
        if any("fileId" in disk for disk in machine.plain("disks", [])):
            yield machine.name, "imports its disk over SSH: use import_from"


@rule("facts/providers.md B3")
def machines_import_an_image_of_their_host(castle: Castle) -> Iterator[tuple[str, str]]:
    """The image must lie on the machine's own host, and be there first."""
    files = {file.id: file for file in castle.of_type(FILE)}
    for machine in castle.of_type(MACHINE):
        for disk in machine.plain("disks", []):
            source = disk.get("importFrom")
            hosts = {f.plain("nodeName") for f in castle.of_type(FILE) if f.id == source}
            if source and source not in files:
                yield machine.name, f"imports {source}, which nothing makes"
            elif source and machine.plain("nodeName") not in hosts:
                yield machine.name, f"imports {source}, which is not on its host"
            elif source and not castle.before(machine) & {f.urn for f in castle.of_type(FILE)}:
                yield machine.name, "does not wait for the image that it imports"


# Talos --------------------------------------------------------------------------------------------


@rule("facts/providers.md A3.1")
def invokes_get_camel_case(castle: Castle) -> Iterator[tuple[str, str]]:
    """An invoke does not turn the snake_case keys of an output into camelCase."""
    for call in castle.invokes:
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
def configurations_get_all_secrets(castle: Castle) -> Iterator[tuple[str, str]]:
    """The provider makes no machine config with a part of the secrets."""
    wanted = {
        "certs": {"etcd", "k8s", "k8sAggregator", "k8sServiceaccount", "os"},
        "cluster": {"id", "secret"},
        "secrets": {"bootstrapToken", "secretboxEncryptionSecret"},
        "trustdinfo": {"token"},
    }
    for call in castle.invokes:
        if call.token != "talos:machine/getConfiguration:getConfiguration":
            continue
        secrets = reveal(call.args).get("machineSecrets") or {}
        for group, keys in wanted.items():
            if missing := keys - set(secrets.get(group, {})):
                yield call.token, f"Must set machineSecrets.{group}.{', '.join(sorted(missing))}"


@rule("facts/providers.md A3.2 (pulumi-talos#252)")
def talos_timeouts_are_whole(castle: Castle) -> Iterator[tuple[str, str]]:
    """A part of the fields fails after the call; none at all waits for ten minutes unasked."""
    fields = {"create", "update", "delete"}
    for resource in castle.of_type(APPLY):
        missing = fields - set(resource.plain("timeouts", {}))
        if missing:
            yield resource.name, f"timeouts must have every field: {', '.join(sorted(missing))}"


@rule("facts/end-to-end.md 9: asked twice, it loops until its time is up, and cannot be imported")
def bootstrap_is_safe_to_repeat(castle: Castle) -> Iterator[tuple[str, str]]:
    """The talos provider's own Bootstrap takes a cluster that has begun for a failure."""
    for resource in castle.of_type("talos:machine/bootstrap:Bootstrap"):
        yield resource.name, "is the provider's Bootstrap: an `up` that was cut off cannot go on"


def configs(castle: Castle) -> Iterator[tuple[Resource, list[machine_config.Document]]]:
    """Each ConfigurationApply with the documents that its machine would receive."""
    for apply in castle.of_type(APPLY):
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
def vip_on_control_planes_only(castle: Castle) -> Iterator[tuple[str, str]]:
    """A worker with a VIP refuses its config; a cluster without one has no API address."""
    for apply, documents in configs(castle):
        worker = machine_config.main(documents)["machine"]["type"] == "worker"
        has_vip = any("vip" in interface for interface in _interfaces(documents))
        if worker and has_vip:
            yield apply.name, "virtual (shared) IP is not allowed on non-controlplane nodes"
        if not worker and not has_vip:
            yield apply.name, "carries no VIP, so nothing answers at the cluster's endpoint"


@rule("facts/end-to-end.md 1-4; siderolabs/talos v1.12 HostnameConfig")
def host_names_are_static(castle: Castle) -> Iterator[tuple[str, str]]:
    """One HostnameConfig with auto off; a name beside it in the old place is refused."""
    for apply, documents in configs(castle):
        network = machine_config.main(documents)["machine"].get("network", {})
        found = machine_config.of_kind(documents, "HostnameConfig")
        if "hostname" in network:
            yield apply.name, "static hostname is already set in v1alpha1 config"
        elif not found or found[0].get("auto") != "off" or not found[0].get("hostname"):
            yield apply.name, "needs a HostnameConfig with auto 'off' and a hostname"


@rule("siderolabs/talos#9276: the VIP lives by etcd, so it cannot be how etcd is repaired")
def talos_is_not_reached_by_the_vip(castle: Castle) -> Iterator[tuple[str, str]]:
    """The Talos endpoint is a machine's own address."""
    vips = {
        interface["vip"]["ip"]
        for _, documents in configs(castle)
        for interface in _interfaces(documents)
        if "vip" in interface
    }
    for resource in castle.of_type(APPLY, BOOTSTRAP):
        for name in ("node", "endpoint"):
            if resource.plain(name) in vips:
                yield resource.name, f"its {name} is the VIP"


@rule("siderolabs/talos#8625; design: the same schematic in image and install image")
def install_image_is_the_images(castle: Castle) -> Iterator[tuple[str, str]]:
    """An upgrade must keep the extensions, and the nocloud platform."""
    ids = {schematic.id for schematic in castle.of_type(SCHEMATIC)}
    for apply, documents in configs(castle):
        install = machine_config.main(documents)["machine"].get("install", {}).get("image", "")
        path, _, _ = install.rpartition(":")
        if not path.endswith(tuple(f"/nocloud-installer/{id_}" for id_ in ids)) or not ids:
            yield (
                apply.name,
                f"{install or 'no image'} is not the nocloud installer of our schematic",
            )


@rule("facts/charts.md 4; siderolabs/talos#9225")
def data_disks_are_found_by_size(castle: Castle) -> Iterator[tuple[str, str]]:
    """The selector is true for the data disk, and for nothing else."""
    machines = {_address(machine): machine for machine in castle.of_type(MACHINE)}
    for apply, documents in configs(castle):
        machine = machines.get(apply.plain("node"))
        sizes = [disk["size"] for disk in machine.plain("disks", [])] if machine else []
        volumes = machine_config.of_kind(documents, "UserVolumeConfig")
        if len(sizes) > 1 and not volumes:
            yield apply.name, "its machine has a data disk that no UserVolumeConfig takes"
        for volume in volumes:
            match = volume["provisioning"]["diskSelector"]["match"]
            if "!system_disk" not in match:
                yield apply.name, f"{match} may take the system disk"
            if [size for size in sizes if _selects(match, size)] != sizes[1:]:
                yield apply.name, f"{match} does not tell disks of {sizes} GiB apart"


def _selects(match: str, size_gib: int) -> bool:
    low = re.search(r"disk\.size >= (\d+)u \* GiB", match)
    high = re.search(r"disk\.size < (\d+)u \* GiB", match)
    return bool(low and high and int(low[1]) <= size_gib < int(high[1]))


@rule("facts/charts.md 4: mountPropagation Bidirectional")
def longhorn_has_its_mount(castle: Castle) -> Iterator[tuple[str, str]]:
    """Where a data disk is, the kubelet binds it to Longhorn's folder, shared."""
    for apply, documents in configs(castle):
        kubelet = machine_config.main(documents)["machine"].get("kubelet", {})
        mounts = {mount["destination"]: mount for mount in kubelet.get("extraMounts", ())}
        mount = mounts.get("/var/lib/longhorn")
        if machine_config.of_kind(documents, "UserVolumeConfig") and (
            mount is None
            or mount.get("source") != "/var/mnt/longhorn"
            or set(mount.get("options", ())) != {"bind", "rshared", "rw"}
        ):
            yield apply.name, "needs /var/mnt/longhorn at /var/lib/longhorn, bind, rshared, rw"


@rule("design: declared, never discovered")
def one_name_and_address_each(castle: Castle) -> Iterator[tuple[str, str]]:
    """A machine, its config and its Kubernetes node have one name and one address."""
    machines = {_address(machine): machine.plain("name") for machine in castle.of_type(MACHINE)}
    gates = {gate.plain("address"): gate.plain("node") for gate in castle.of_type(READY)}
    for apply, documents in configs(castle):
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
def configs_follow_their_machine(castle: Castle) -> Iterator[tuple[str, str]]:
    """A config waits for its machine, is sent again to a new one, and goes with it."""
    machines = {_address(machine): machine.urn for machine in castle.of_type(MACHINE)}
    for apply in castle.of_type(APPLY):
        urn = machines.get(apply.plain("node"))
        if urn is None or urn not in castle.before(apply):
            yield apply.name, "nothing orders it after its machine"
        elif urn != apply.deleted_with or urn not in apply.replace_with:
            yield apply.name, "must be deleted_with and replace_with its machine"


@rule("siderolabs/talos v1alpha1: Bootstrap on a worker, or a second one, is refused")
def bootstrapped_once(castle: Castle) -> Iterator[tuple[str, str]]:
    """Exactly one control plane is told to begin, after it has its config."""
    found = list(castle.of_type(BOOTSTRAP))
    if len(found) != 1 and list(castle.of_type(APPLY)):
        yield "bootstrap", f"{len(found)} bootstraps: etcd begins exactly once"
    first = {a.plain("node"): a for a, d in configs(castle) if _is_control_plane(d)}
    for bootstrap in found:
        apply = first.get(bootstrap.plain("node"))
        if apply is None:
            yield bootstrap.name, "is sent to what is no control plane"
        elif apply.urn not in castle.before(bootstrap):
            yield bootstrap.name, "nothing orders it after the config of its control plane"


def _is_control_plane(documents: list[machine_config.Document]) -> bool:
    return bool(machine_config.main(documents)["machine"]["type"] == "controlplane")


@rule("terraform-provider-talos#381")
def secrets_keep_their_contract(castle: Castle) -> Iterator[tuple[str, str]]:
    """Another Talos version must not make new secrets for a living cluster."""
    for secrets in castle.of_type(SECRETS):
        if "talosVersion" not in secrets.ignore_changes:
            yield secrets.name, "needs ignore_changes=['talosVersion']"


# Kubernetes ---------------------------------------------------------------------------------------


@rule("facts/end-to-end.md 5 and its last part")
def the_api_waits_for_every_node(castle: Castle) -> Iterator[tuple[str, str]]:
    """Nothing in Kubernetes before the cluster is healthy, by way of its provider."""
    gates = {gate.urn for gate in castle.of_type(READY)}
    applied = {apply.urn for apply in castle.of_type(APPLY, BOOTSTRAP)}
    for provider in castle.of_type(PROVIDER):
        if not gates <= set(provider.dependencies):
            yield provider.name, "must depend on the gate of every node"
        if provider.property_dependencies.get("kubeconfig") and gates & set(
            provider.property_dependencies["kubeconfig"]
        ):
            yield provider.name, "its kubeconfig comes through the gate: it would go unknown"
        if not provider.plain("upsertExistingObjects"):
            yield (
                provider.name,
                "needs upsert_existing_objects: what a killed run made is in its way",
            )
        if not provider.plain("clusterIdentifier"):
            yield provider.name, "needs cluster_identifier, or a renewed kubeconfig replaces it"
        if not applied <= castle.before(provider):
            yield provider.name, "does not wait for every config and the bootstrap"


@rule("facts/end-to-end.md 11-12, facts/providers.md E")
def the_dying_cluster_is_not_asked(castle: Castle) -> Iterator[tuple[str, str]]:
    """What lives in the cluster goes with the cluster's identity, and with no machine."""
    identities = {secrets.urn for secrets in castle.of_type(SECRETS)}
    # These go with the cluster themselves, which this very rule sees to.
    removals = {removal.urn for removal in castle.of_type(UNINSTALL)}
    for resource in castle.resources:
        asked = resource.in_kubernetes or resource.type in (PROVIDER, UNINSTALL, FLUX_READY)
        if asked and resource.deleted_with not in identities | removals:
            yield resource.name, "must be deleted_with the cluster's machine secrets"


@rule("facts/end-to-end.md 1-4: an unready Deployment is awaited for ten minutes by the next up")
def waits_have_limits(castle: Castle) -> Iterator[tuple[str, str]]:
    """Every wait has a time limit of its own."""
    for resource in castle.resources:
        if resource.in_kubernetes and not {"create", "update", "delete"} <= set(
            resource.custom_timeouts
        ):
            yield resource.name, "needs custom_timeouts for create, update and delete"


PRIVILEGED_CHARTS = {"longhorn", "metallb"}
"""Charts whose pods a baseline namespace refuses (facts/charts.md 3 and 4)."""


@rule("facts/charts.md 0.2 and 5: Talos enforces baseline outside kube-system")
def namespaces_admit_their_pods(castle: Castle) -> Iterator[tuple[str, str]]:
    """A chart that needs more than its namespace admits is `deployed` and never starts."""
    levels = {
        space.plain("metadata")["name"]: space.plain("metadata")
        .get("labels", {})
        .get("pod-security.kubernetes.io/enforce")
        for space in castle.of_type(NAMESPACE)
    }
    for name, level in levels.items():
        if level is None:
            yield name, "this namespace has no Pod Security label"
    for release in castle.of_type(RELEASE):
        space = release.plain("namespace")
        values = release.plain("values", {})
        needs_more = release.plain("chart", "").rpartition("/")[2] in PRIVILEGED_CHARTS
        if space not in levels or release.plain("createNamespace"):
            yield release.name, f"its namespace {space} is not one of ours"
        elif (needs_more or values.get("hostNetwork")) and levels[space] != "privileged":
            yield release.name, f"violates PodSecurity: {space} enforces {levels[space]}"


@rule("kubernetes: namespaces not found")
def namespaces_come_first(castle: Castle) -> Iterator[tuple[str, str]]:
    """What stands in a namespace of ours waits for it."""
    spaces = {space.plain("metadata")["name"]: space.urn for space in castle.of_type(NAMESPACE)}
    for resource in castle.resources:
        if not resource.in_kubernetes or resource.type == NAMESPACE:
            continue
        metadata = resource.plain("metadata", {}) or {}
        space = resource.plain("namespace") or metadata.get("namespace")
        if space not in spaces:
            yield resource.name, f"namespace {space} is made by nobody"
        elif spaces[space] not in castle.before(resource):
            yield resource.name, f"nothing orders it after its namespace {space}"


@rule("facts/charts.md 2: values are valid for a range of versions")
def charts_are_pinned(castle: Castle) -> Iterator[tuple[str, str]]:
    """A chart's version is written down."""
    for release in castle.of_type(RELEASE):
        if not re.fullmatch(r"\d+\.\d+\.\d+", str(release.plain("version"))):
            yield release.name, "its chart's version is not pinned"


def _release(castle: Castle, chart: str) -> Iterator[Resource]:
    for release in castle.of_type(RELEASE):
        if str(release.plain("chart")).rpartition("/")[2] == chart:
            yield release


def _after_release(castle: Castle, resource: Resource, chart: str) -> bool:
    return bool({r.urn for r in _release(castle, chart)} & castle.before(resource))


@rule("facts/charts.md 0.1 and 3")
def pools_wait_for_metallb(castle: Castle) -> Iterator[tuple[str, str]]:
    """A pool before its CRDs fails, and one before its webhook serves fails too."""
    for resource in castle.of_type(POOL, ADVERTISEMENT):
        if not _after_release(castle, resource, "metallb"):
            yield resource.name, "no matches for kind: nothing orders it after MetalLB's chart"
    for release in _release(castle, "metallb"):
        policy = release.plain("values", {}).get("crds", {}).get("validationFailurePolicy")
        if list(castle.of_type(POOL)) and policy != "Ignore":
            yield release.name, "its webhook refuses pools for a while after its pod is ready"


@rule("facts/charts.md 3: a typo there advertises all pools")
def advertisements_name_their_pool(castle: Castle) -> Iterator[tuple[str, str]]:
    """An L2Advertisement without a valid pool list advertises everything."""
    pools = {pool.plain("metadata")["name"] for pool in castle.of_type(POOL)}
    for advertisement in castle.of_type(ADVERTISEMENT):
        named = advertisement.plain("spec", {}).get("ipAddressPools")
        if not named or not set(named) <= pools:
            yield advertisement.name, f"ipAddressPools must name pools of ours, not {named}"


@rule("facts/charts.md 0.3 (siderolabs/talos#9960)")
def somebody_announces_the_pool(castle: Castle) -> Iterator[tuple[str, str]]:
    """Talos' label keeps control planes from announcing; without workers nobody would."""
    roles = {_is_control_plane(documents) for _, documents in configs(castle)}
    for release in _release(castle, "metallb"):
        values = release.plain("values", {})
        if roles == {True} and not values.get("speaker", {}).get("ignoreExcludeLB"):
            yield release.name, "no node announces: needs speaker.ignoreExcludeLB"
        if values.get("frrk8s", {}).get("enabled", True):
            yield release.name, "brings FRR, which L2 does not need: frrk8s.enabled false"


@rule("facts/charts.md 4 (longhorn#5187)")
def longhorn_can_be_uninstalled(castle: Castle) -> Iterator[tuple[str, str]]:
    """Without the flag its uninstall job fails; the job alone may take 900 s."""
    for release in _release(castle, "longhorn"):
        settings = release.plain("values", {}).get("defaultSettings", {})
        if settings.get("deletingConfirmationFlag") is not True:
            yield release.name, "needs defaultSettings.deletingConfirmationFlag true"
        if release.plain("timeout", 300) < 900:
            yield release.name, "its timeout is shorter than the uninstall job's 900 s"


@rule("longhorn: hard anti-affinity of replicas")
def longhorn_can_place_its_replicas(castle: Castle) -> Iterator[tuple[str, str]]:
    """As many nodes with a labelled data disk as there are replicas."""
    carriers = sum(
        bool(machine_config.of_kind(documents, "UserVolumeConfig"))
        and "node.longhorn.io/create-default-disk"
        in machine_config.main(documents)["machine"].get("nodeLabels", {})
        for _, documents in configs(castle)
    )
    for release in _release(castle, "longhorn"):
        replicas = (
            release.plain("values", {}).get("persistence", {}).get("defaultClassReplicaCount")
        )
        if not isinstance(replicas, int) or replicas > carriers:
            yield release.name, f"{replicas} replicas on {carriers} nodes with a data disk"


TRAEFIK_41_KEYS = {
    ("ports", "web", "redirectTo"),
    ("ports", "web", "redirections"),
    ("ports", "web", "tls"),
    ("ports", "websecure", "tls"),
    ("logs",),
    ("globalArguments",),
    ("certResolvers",),
    ("image", "name"),
    ("service", "type"),
    ("service", "loadBalancerIP"),
    ("deployment", "strategy"),
    ("persistence", "accessModes"),
}
"""Keys that Traefik's chart 41 rejects, or takes in silence for nothing (facts/charts.md 2)."""


@rule("facts/charts.md 2")
def traefik_values_are_of_their_version(castle: Castle) -> Iterator[tuple[str, str]]:
    """Keys of other chart versions are refused, or worse, ignored."""
    for release in _release(castle, "traefik"):
        for path in sorted(TRAEFIK_41_KEYS):
            value = release.plain("values", {})
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                yield release.name, f"{'.'.join(path)} is not a key of this chart version"


@rule("traefik: one ACME account, one Traefik")
def acme_has_one_replica(castle: Castle) -> Iterator[tuple[str, str]]:
    """Two Traefiks with one acme.json spoil it; the chart notices only a part of the cases."""
    for release in _release(castle, "traefik"):
        values = release.plain("values", {})
        deployment = values.get("deployment", {})
        if values.get("certificatesResolvers") and (
            deployment.get("replicas", 1) != 1 or deployment.get("kind") == "DaemonSet"
        ):
            yield release.name, "with ACME there must be exactly one replica"


@rule("traefik-helm-chart#396: Multi-Attach error for volume")
def one_node_at_a_time_for_a_volume(castle: Castle) -> Iterator[tuple[str, str]]:
    """An RWO volume cannot be on the old pod's node and the new one's."""
    for release in _release(castle, "traefik"):
        values = release.plain("values", {})
        if not values.get("persistence", {}).get("enabled"):
            continue
        strategy = values.get("updateStrategy", {})
        surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", 1)
        if strategy.get("type") != "Recreate" and surge != 0:
            yield release.name, "a rolling update waits for ever for its volume: use Recreate"


@rule("traefik-helm-chart#164, #257")
def acme_file_is_private(castle: Castle) -> Iterator[tuple[str, str]]:
    """An fsGroup makes acme.json readable for its group, and Traefik skips the resolver."""
    for release in _release(castle, "traefik"):
        values = release.plain("values", {})
        if "fsGroup" in values.get("podSecurityContext", {}):
            yield release.name, "permissions 660 for /data/acme.json are too open: no fsGroup"
        claim = values.get("persistence", {}).get("existingClaim")
        claims = {c.plain("metadata")["name"]: c.urn for c in castle.of_type(CLAIM)}
        if values.get("certificatesResolvers") and claims.get(claim) not in castle.before(release):
            yield release.name, "its certificates must lie on a volume of ours, made before it"


@rule("metallb controller: can not have both; an address outside of every pool stays pending")
def services_get_an_address_of_the_pool(castle: Castle) -> Iterator[tuple[str, str]]:
    """A LoadBalancer's address is named once, and waits for its pool."""
    for release in _release(castle, "traefik"):
        service = release.plain("values", {}).get("service", {})
        if service.get("enabled") is False:
            continue
        wanted = service.get("annotations", {}).get("metallb.io/loadBalancerIPs")
        if not wanted or service.get("spec", {}).get("loadBalancerIP"):
            yield release.name, "its address must be named by MetalLB's annotation, and only there"
        pools = {pool.urn for pool in castle.of_type(POOL, ADVERTISEMENT)}
        if not pools or not pools <= castle.before(release):
            yield release.name, "nothing orders it after the pool of its address"


@rule("facts/charts.md 2: the claim stays Pending until its class exists")
def claims_wait_for_their_class(castle: Castle) -> Iterator[tuple[str, str]]:
    """Longhorn makes its class; a claim waits for Longhorn, and long enough."""
    for claim in castle.of_type(CLAIM):
        wanted = claim.plain("spec", {}).get("storageClassName")
        if wanted == "longhorn" and not _after_release(castle, claim, "longhorn"):
            yield claim.name, "nothing orders it after Longhorn, which makes its storage class"


@rule("facts/charts.md 2: host ports below 1024 need root on the host's network")
def host_network_works(castle: Castle) -> Iterator[tuple[str, str]]:
    """Ports of the control plane: on its node, by root, with cluster DNS."""
    for release in _release(castle, "traefik"):
        values = release.plain("values", {})
        if not values.get("hostNetwork"):
            continue
        wanted = {
            "nodeSelector of a control plane": "node-role.kubernetes.io/control-plane"
            in values.get("nodeSelector", {}),
            "toleration of its taint": bool(values.get("tolerations")),
            "root": values.get("podSecurityContext", {}).get("runAsUser") == 0,
            "dnsPolicy ClusterFirstWithHostNet": values.get("deployment", {}).get("dnsPolicy")
            == "ClusterFirstWithHostNet",
            "hostPort equal to port": all(
                port.get("hostPort") == port.get("port")
                for name, port in values.get("ports", {}).items()
                if name in ("web", "websecure")
            ),
        }
        for what, there in wanted.items():
            if not there:
                yield release.name, f"on the host's network it needs {what}"


@rule("kubernetes: no matches for kind IngressRoute")
def routes_wait_for_traefik(castle: Castle) -> Iterator[tuple[str, str]]:
    """Traefik's chart brings the CRDs of its routes."""
    for route in castle.of_type(ROUTE):
        if not _after_release(castle, route, "traefik"):
            yield route.name, "no matches for kind: nothing orders it after Traefik's chart"


@rule("fluxcd/flux2#632, fluxcd/terraform-provider-flux#67: Terminating for ever")
def flux_can_be_removed(castle: Castle) -> Iterator[tuple[str, str]]:
    """Objects of Flux wait for controllers that may be dead: our own removal goes before them."""
    removals = {it.urn for it in castle.of_type(UNINSTALL)}
    first = set().union(*(castle.before(it) for it in castle.of_type(UNINSTALL)))
    for it in castle.of_type(INSTANCE):
        if it.urn not in first:
            yield it.name, "FluxUninstall does not come after it, so it does not go before it"
    for it in castle.of_type(SOURCE, KUSTOMIZATION):
        if it.deleted_with not in removals:
            yield it.name, "must be deleted_with FluxUninstall, which takes its kind away"


@rule("fluxcd: spec.deletionPolicy is MirrorPrune by default, which deletes what was applied")
def applications_outlive_their_kustomization(castle: Castle) -> Iterator[tuple[str, str]]:
    """Somebody's `kubectl delete` must not take the applications and their data along."""
    for it in castle.of_type(KUSTOMIZATION):
        if it.plain("spec", {}).get("deletionPolicy") != "Orphan":
            yield it.name, "needs deletionPolicy Orphan"


@rule("kubernetes: no matches for kind GitRepository: the operator brings it")
def sources_wait_for_flux(castle: Castle) -> Iterator[tuple[str, str]]:
    """The kinds of Flux are there once its controllers are ready."""
    ready = {it.urn for it in castle.of_type(FLUX_READY) if it.plain("part") == "controllers"}
    for it in castle.of_type(SOURCE, KUSTOMIZATION):
        if not ready & castle.before(it):
            yield it.name, "no matches for kind: nothing waits for Flux's controllers"


@rule("fluxcd: secrets not found, tried again at the next interval")
def secrets_come_before_their_use(castle: Castle) -> Iterator[tuple[str, str]]:
    """What Flux opens a repository or a manifest with is there first."""
    secrets = {it.plain("metadata")["name"]: it.urn for it in castle.of_type(SECRET)}
    for it in castle.of_type(SOURCE, KUSTOMIZATION):
        spec = it.plain("spec", {})
        for user in (spec, spec.get("decryption", {})):
            name = user.get("secretRef", {}).get("name")
            if name and secrets.get(name) not in castle.before(it):
                yield it.name, f"nothing orders it after its secret {name}"
