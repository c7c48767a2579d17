"""Rules for machine config patches: known kinds and keys, and no conflict with this program.

They are strategic merge patches (docs.siderolabs.com, "Configuration Patches"): documents with a
``kind``, or parts of the main document (``v1alpha1``), which has no ``kind``. Only the two upper
levels of keys are checked here. Talos' machinery checks all keys, but not before the machine
secrets exist: the preview of a new cluster accepts everything, and its ``up`` fails half-way.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from settings.groups import Cluster, Nodes
from settings.node import Node, Role
from settings.problems import Problem, did_you_mean

PatchProblem = tuple[str, str, str]
"""Path within a patch, reason and fix of a problem."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MAIN: dict[str, tuple[str, ...]] = {
    "machine": _words(
        "acceptedCAs baseRuntimeSpecOverrides ca certSANs controlPlane disks env features files "
        "install kernel kubelet logging network nodeAnnotations nodeLabels nodeTaints pods "
        "registries seccompProfiles sysctls sysfs systemDiskEncryption time token type udev"
    ),
    "cluster": _words(
        "acceptedCAs adminKubeconfig aescbcEncryptionSecret aggregatorCA "
        "allowSchedulingOnControlPlanes apiServer ca clusterName controlPlane controllerManager "
        "coreDNS discovery etcd externalCloudProvider extraManifestHeaders extraManifests id "
        "inlineManifests network proxy scheduler secret secretboxEncryptionSecret serviceAccount "
        "token"
    ),
    "debug": (),
}
"""Keys of the main document, and the keys below them, deprecated ones included (siderolabs/talos
v1.13.9 pkg/machinery/config/types/v1alpha1)."""

KINDS = _words(
    "BondConfig BridgeConfig DHCPv4Config DHCPv6Config DummyLinkConfig EthernetConfig "
    "EventSinkConfig ExistingVolumeConfig ExtensionServiceConfig HCloudVIPConfig HostnameConfig "
    "KmsgLogConfig KubeSpanEndpointsConfig Layer2VIPConfig LinkAliasConfig LinkConfig "
    "NetworkDefaultActionConfig NetworkRuleConfig OOMConfig PCIDriverRebindConfig RawVolumeConfig "
    "RegistryAuthConfig RegistryMirrorConfig RegistryTLSConfig ResolverConfig SideroLinkConfig "
    "StaticHostConfig SwapVolumeConfig TimeSyncConfig TrustedRootsConfig UserVolumeConfig "
    "VLANConfig VolumeConfig WatchdogTimerConfig WireguardConfig ZswapConfig"
)
"""Kinds of documents of Talos 1.12, the oldest version that this program supports (registered in
siderolabs/talos v1.12.0 pkg/machinery/config/types)."""

KINDS_SINCE_1_13 = _words(
    "BlackholeRouteConfig EnvironmentConfig ExternalVolumeConfig ImageVerificationConfig "
    "KubeSpanConfig RoutingRuleConfig TCPProbeConfig VRFConfig"
)
"""Kinds of documents that Talos 1.13 added (the same folder, v1.13.0 to v1.13.9)."""

_TEXTS = ("apiVersion", "kind", "name")
"""Keys of a document whose value is text."""
_DISK_SELECTOR = ("provisioning", "diskSelector")
_NO_GROUP = "is not a group of keys", "write keys and values below this key"

_MOUNTED = _words("ExistingVolumeConfig ExternalVolumeConfig UserVolumeConfig")
"""Kinds of volume documents whose volume Talos mounts at /var/mnt/NAME."""

_DISKS = "this program selects disks by their size", "set os_disk_gib or data_disk_gib"
_NETWORK = (
    "this program configures the only network device of a node: address, gateway and VIP",
    "set the network group, first_address, nodes.overrides.NAME.address or cluster.vip",
)
_NAME = "this program sets the names of cluster and nodes", "set cluster.name"
_NAME_SERVERS = "this program sets the name servers", "set network.nameservers"
_IDENTITY = (
    "is part of the cluster's identity, which this program generates with the cluster",
    "remove this key",
)
_KERNEL = (
    "is ignored by Talos 1.12 and newer, which takes the kernel arguments from the image",
    "set image.kernel_arguments",
)
_KUBERNETES = "this program sets the Kubernetes images", "set cluster.kubernetes"

OWNED: dict[tuple[str, ...], tuple[str, str]] = {
    ("machine", "type"): _IDENTITY,
    ("machine", "token"): _IDENTITY,
    ("machine", "ca"): _IDENTITY,
    ("machine", "install", "image"): (
        "this program sets the install image",
        "set cluster.talos or image.extensions",
    ),
    ("machine", "install", "disk"): _DISKS,
    ("machine", "install", "diskSelector"): _DISKS,
    ("machine", "install", "extraKernelArgs"): _KERNEL,
    ("machine", "install", "grubUseUKICmdline"): _KERNEL,
    ("machine", "network", "hostname"): _NAME,
    ("machine", "network", "interfaces"): _NETWORK,
    ("machine", "network", "nameservers"): _NAME_SERVERS,
    ("machine", "kubelet", "image"): _KUBERNETES,
    ("machine", "kubelet", "nodeIP"): _NETWORK,
    ("machine", "nodeLabels", "node.longhorn.io/create-default-disk"): (
        "this program sets the label on nodes with a data disk",
        "set data_disk_gib",
    ),
    ("machine", "nodeLabels", "topology.kubernetes.io/zone"): (
        "this program sets the zone to the Proxmox host; Longhorn spreads copies over zones",
        "set nodes.overrides.NAME.host",
    ),
    ("cluster", "clusterName"): _NAME,
    ("cluster", "controlPlane", "endpoint"): (
        "this program sets the endpoint of the Kubernetes API to the VIP",
        "set cluster.vip",
    ),
    **{
        ("cluster", key): _IDENTITY
        for key in (
            "aescbcEncryptionSecret",
            "aggregatorCA",
            "ca",
            "id",
            "secret",
            "secretboxEncryptionSecret",
            "serviceAccount",
            "token",
        )
    },
    ("cluster", "etcd", "ca"): _IDENTITY,
    **{
        ("cluster", program, "image"): _KUBERNETES
        for program in ("apiServer", "controllerManager", "proxy", "scheduler")
    },
}
"""Keys of the main document that this program sets: reason and fix for a patch of them."""

_GROUPS = sorted({owned[:depth] for owned in OWNED for depth in range(1, len(owned))})
"""Paths whose value is a group of keys."""


_COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def patches_are_known(nodes: Nodes, cluster: Cluster) -> Iterator[Problem]:
    """Each patch is a Talos document of a known kind, or a part of the main document."""
    known = [*KINDS, *KINDS_SINCE_1_13]
    for path, patch in _patches(nodes):
        kind = patch.get("kind")
        no_text = [key for key in _TEXTS if not isinstance(patch.get(key, ""), str)]
        for key in no_text:
            yield Problem(f"{path}.{key}", "set", "is not text", "write it as text")
        if kind is None:
            yield from (Problem(*_problem_fields(path, it)) for it in _wrong_keys(patch))
        elif "kind" in no_text:
            continue
        elif kind not in known:
            fix = did_you_mean(kind, known)
            yield Problem(f"{path}.kind", kind, "is not a kind of Talos document", fix)
        elif kind in KINDS_SINCE_1_13 and cluster.talos.startswith("v1.12."):
            yield Problem(
                f"{path}.kind",
                kind,
                f"is not supported by Talos {cluster.talos}",
                "upgrade to Talos v1.13 first",
            )
        elif kind == "UserVolumeConfig" and (inner := _scalar(patch, *_DISK_SELECTOR)):
            yield Problem(f"{path}.{inner}", "set", *_NO_GROUP)
        elif "apiVersion" not in no_text and patch.get("apiVersion") != "v1alpha1":
            yield Problem(
                f"{path}.apiVersion",
                patch.get("apiVersion", "missing"),
                f"is not the apiVersion of {kind}",
                "write apiVersion: v1alpha1",
            )


def patches_change_no_managed_values(nodes: Nodes, cluster: Cluster) -> Iterator[Problem]:
    """A patch changes no value that this program sets from another setting."""
    for path, patch in _patches(nodes):
        conflicts = (
            _conflicting_document(patch, cluster) if "kind" in patch else _conflicting_keys(patch)
        )
        yield from (Problem(*_problem_fields(path, conflict)) for conflict in conflicts)
        if "kind" not in patch and cluster.ntp and "time" in _nested_group(patch, "machine"):
            yield Problem(
                f"{path}.machine.time",
                "set",
                "Talos refuses this key if cluster.ntp is set too",
                "remove this key or cluster.ntp",
            )


def _patches(nodes: Nodes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Path and content of every patch."""
    groups = {
        "nodes.control_planes": nodes.control_planes.patches,
        "nodes.workers": nodes.workers.patches,
    } | {
        f"nodes.overrides.{name}": override.patches or ()
        for name, override in sorted(nodes.overrides.items())
    }
    for group, patches in groups.items():
        for number, patch in enumerate(patches):
            yield f"{group}.patches[{number}]", patch


def _problem_fields(path: str, found: PatchProblem) -> tuple[str, str, str, str]:
    """The fields of a problem. The value of a patch is not shown, because it may be a secret."""
    inner, reason, fix = found
    return f"{path}.{inner}" if inner else path, "set", reason, fix


def _wrong_keys(patch: Mapping[str, Any]) -> Iterator[PatchProblem]:
    if {"op", "path"} <= patch.keys():
        yield (
            "",
            "is a JSON patch, and only strategic merge patches are supported",
            "write the keys as in the machine config",
        )
        return
    if not patch:
        yield "", "is an empty patch", "remove it"
    for key, value in patch.items():
        if key not in MAIN:
            yield key, "is not a key of a machine config", did_you_mean(key, [*MAIN, "kind"])
        elif MAIN[key] and isinstance(value, dict):
            for inner in sorted(value.keys() - {*MAIN[key], "$patch"}):
                fix = did_you_mean(inner, MAIN[key])
                yield f"{key}.{inner}", "is not a key of a machine config", fix
    for scalar in dict.fromkeys(_scalar(patch, *group) for group in _GROUPS):
        if scalar:
            yield scalar, *_NO_GROUP
    kubelet = _nested_group(patch, "machine", "kubelet")
    mounts = kubelet.get("extraMounts", [])
    if not isinstance(mounts, list):
        yield "machine.kubelet.extraMounts", "is not a list", "write a list of mounts"
        return
    for number, mount in enumerate(mounts):
        if not isinstance(mount, dict) or "destination" not in mount:
            inner = f"machine.kubelet.extraMounts[{number}]"
            yield inner, "has no destination", "write destination: the path in the kubelet"


def _scalar(patch: Mapping[str, Any], *path: str) -> str:
    """Return the part of a path whose value should be a group of keys and is not one, if any."""
    value: Any = patch
    for depth, key in enumerate(path, 1):
        value = value.get(key)
        if value is None:
            return ""
        if not isinstance(value, dict):
            return ".".join(path[:depth])
    return ""


def _conflicting_keys(patch: Mapping[str, Any]) -> Iterator[PatchProblem]:
    for owned, (reason, fix) in OWNED.items():
        location = _overlap(patch, owned)
        if location == owned:
            yield ".".join(location), reason, fix
        elif location:
            yield (
                ".".join(location),
                "deletes keys that this program sets",
                "delete single keys instead",
            )
    mounts = _nested_group(patch, "machine", "kubelet").get("extraMounts")
    for number, mount in enumerate(mounts if isinstance(mounts, list) else ()):
        if isinstance(mount, dict) and _is_of_longhorn(str(mount.get("destination", ""))):
            inner = f"machine.kubelet.extraMounts[{number}]"
            yield (
                inner,
                "is a mount of the kubelet: Longhorn's pods do not see it, and before Talos "
                "1.13.3 it leaks to the host (siderolabs/talos#13069)",
                "remove it; data_disk_gib mounts the data disk at /var/mnt/longhorn",
            )


def _is_of_longhorn(path: str) -> bool:
    """Whether a path is Longhorn's data path: the one of this program, or Longhorn's default."""
    return path.rstrip("/") in ("/var/lib/longhorn", "/var/mnt/longhorn")


def _overlap(patch: Any, owned: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path at which a patch changes or deletes the key ``owned``, else ``()``.

    ``$patch: delete`` or null at a parent of ``owned`` also deletes ``owned``.
    """
    for depth, key in enumerate(owned):
        if not isinstance(patch, dict):
            return owned[:depth] if patch is None else ()
        if "$patch" in patch and depth:
            return (*owned[:depth], "$patch")
        if key not in patch:
            return ()
        patch = patch[key]
    return owned


def _conflicting_document(patch: Mapping[str, Any], cluster: Cluster) -> Iterator[PatchProblem]:
    kind, name = patch["kind"], patch.get("name")
    if kind == "HostnameConfig":
        yield "kind", *_NAME
    elif kind == "Layer2VIPConfig":
        yield "kind", *_NETWORK
    elif kind == "ResolverConfig":
        yield "kind", *_NAME_SERVERS
    elif kind in _MOUNTED and name == "longhorn":
        yield "name", "is the name of Longhorn's volume on the data disk", "set data_disk_gib"
    elif kind == "TimeSyncConfig" and cluster.ntp:
        yield "kind", "cluster.ntp creates this document", "remove the patch or cluster.ntp"
    elif kind == "RegistryMirrorConfig" and str(name) in cluster.registry_mirrors:
        yield (
            "name",
            "cluster.registry_mirrors creates this document",
            "remove the patch or the registry in cluster.registry_mirrors",
        )


def _nested_group(patch: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    value: Any = patch
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def user_volumes_leave_the_data_disk(nodes: Nodes, machines: Sequence[Node]) -> Iterator[Problem]:
    """No user volume of a patch matches the data disk: Longhorn's volume needs the whole disk."""
    reported = set()
    for node in machines:
        for path, match in _user_volumes(node, nodes).values():
            size_gib = node.data_disk_gib
            if size_gib is None or path in reported or not _matches_surely(match, size_gib):
                continue
            reported.add(path)
            yield Problem(
                f"{path}.provisioning.diskSelector.match",
                "set",
                f"the user volume would take space on Longhorn's data disk of {node.short_name} "
                f"({size_gib} GiB), and Longhorn's volume needs the whole disk",
                "choose an expression that does not match this disk",
            )


def _user_volumes(node: Node, nodes: Nodes) -> dict[str, tuple[str, str]]:
    """Return the path and the CEL expression of each user volume, by the name of the volume.

    Patches of one volume are merged: the last expression counts.
    """
    is_worker = node.role is Role.WORKER
    group = "workers" if is_worker else "control_planes"
    of_role = len((nodes.workers if is_worker else nodes.control_planes).patches)
    found = {}
    for number, patch in enumerate(node.patches):
        path = (
            f"nodes.{group}.patches[{number}]"
            if number < of_role
            else f"nodes.overrides.{node.short_name}.patches[{number - of_role}]"
        )
        provisioning = patch.get("provisioning")
        selector = provisioning.get("diskSelector") if isinstance(provisioning, dict) else None
        if patch.get("kind") == "UserVolumeConfig" and isinstance(selector, dict):
            found[str(patch.get("name", ""))] = path, str(selector.get("match", ""))
    return found


def _matches_surely(match: str, size_gib: int) -> bool:
    """Return whether an expression matches every data disk of this size.

    Only Talos evaluates all of CEL. An expression with anything but sizes and ``!system_disk``,
    such as a device name, is accepted.
    """
    for term in match.split("&&"):
        size = re.fullmatch(r"disk\.size\s*([<>]=?)\s*(\d+)u?\s*\*\s*GiB", term.strip())
        is_true = _COMPARED[size[1]](size_gib, int(size[2])) if size else False
        if term.strip() != "!system_disk" and not is_true:
            return False
    return True
