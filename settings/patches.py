"""Patches of machine configs: their shape, and that none fights with what the castle sets itself.

They are strategic merge patches (docs.siderolabs.com, "Configuration Patches"): documents with a
``kind`` of Talos' own, or parts of the document without one. What stands deeper than two keys is
read by Talos' own machinery in a preview, and refused there if it does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from settings.groups import Cluster, Nodes
from settings.problems import Problem, did_you_mean

Found = tuple[str, str, str]
"""A path within a patch, a reason and a fix."""


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
"""Keys of the document without a kind, and the keys below them (siderolabs/talos v1.13.9
pkg/machinery/config/types/v1alpha1, the old ones that it still reads included)."""

KINDS = _words(
    "BondConfig BridgeConfig DHCPv4Config DHCPv6Config DummyLinkConfig EthernetConfig "
    "EventSinkConfig ExistingVolumeConfig ExtensionServiceConfig HCloudVIPConfig HostnameConfig "
    "KmsgLogConfig KubeSpanEndpointsConfig Layer2VIPConfig LinkAliasConfig LinkConfig "
    "NetworkDefaultActionConfig NetworkRuleConfig OOMConfig PCIDriverRebindConfig RawVolumeConfig "
    "RegistryAuthConfig RegistryMirrorConfig RegistryTLSConfig ResolverConfig SideroLinkConfig "
    "StaticHostConfig SwapVolumeConfig TimeSyncConfig TrustedRootsConfig UserVolumeConfig "
    "VLANConfig VolumeConfig WatchdogTimerConfig WireguardConfig ZswapConfig"
)
"""Kinds of documents that Talos 1.12 knows, the oldest that the castle builds (siderolabs/talos
v1.12.0 pkg/machinery/config/types: what is registered there)."""

KINDS_SINCE_1_13 = _words(
    "BlackholeRouteConfig EnvironmentConfig ExternalVolumeConfig ImageVerificationConfig "
    "KubeSpanConfig RoutingRuleConfig TCPProbeConfig VRFConfig"
)
"""What came with Talos 1.13 (the same place, v1.13.0 to v1.13.9)."""

_DISK_SELECTOR = ("provisioning", "diskSelector")
_NO_GROUP = "is not a group of keys", "write keys and values below it"

_MOUNTED = _words("ExistingVolumeConfig ExternalVolumeConfig UserVolumeConfig")
"""Kinds of volumes that Talos mounts at /var/mnt/NAME."""

_SIZE = "the castle finds disks by their size", "set os_disk_gib or data_disk_gib"
_NETWORK = (
    "the castle sets each machine's one device: its address, its router and the VIP",
    "set the network group, first_address, nodes.overrides.NAME.address or cluster.vip",
)
_NAME = "the castle names its machines", "set cluster.name"
_RESOLVER = "the castle sets the name servers", "set network.nameservers"
_IDENTITY = "is part of what the cluster is, and is made at its birth", "leave it out"
_KERNEL = (
    "is no longer read: the kernel's arguments are those of the image (Talos 1.12 and newer)",
    "set image.kernel_arguments",
)
_KUBERNETES = "the castle chooses Kubernetes' images", "set cluster.kubernetes"

OWNED: dict[tuple[str, ...], tuple[str, str]] = {
    ("machine", "type"): _IDENTITY,
    ("machine", "token"): _IDENTITY,
    ("machine", "ca"): _IDENTITY,
    ("machine", "install", "image"): (
        "the castle chooses the install image",
        "set cluster.talos or image.extensions",
    ),
    ("machine", "install", "disk"): _SIZE,
    ("machine", "install", "diskSelector"): _SIZE,
    ("machine", "install", "extraKernelArgs"): _KERNEL,
    ("machine", "install", "grubUseUKICmdline"): _KERNEL,
    ("machine", "network", "hostname"): _NAME,
    ("machine", "network", "interfaces"): _NETWORK,
    ("machine", "network", "nameservers"): _RESOLVER,
    ("machine", "kubelet", "image"): _KUBERNETES,
    ("machine", "kubelet", "nodeIP"): _NETWORK,
    ("machine", "nodeLabels", "node.longhorn.io/create-default-disk"): (
        "the castle tells Longhorn where its disks are",
        "set data_disk_gib",
    ),
    ("machine", "nodeLabels", "topology.kubernetes.io/zone"): (
        "the zone of a node is its Proxmox host: Longhorn spreads copies over zones",
        "set nodes.overrides.NAME.host",
    ),
    ("cluster", "clusterName"): _NAME,
    ("cluster", "controlPlane", "endpoint"): (
        "the castle's API is at its VIP",
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
"""Places of the document without a kind that are the castle's, with reason and fix."""

_GROUPS = sorted({owned[:2] for owned in OWNED if len(owned) > 2})
"""Paths of two keys whose value is a group of keys."""


def patches_are_known(nodes: Nodes, cluster: Cluster) -> Iterator[Problem]:
    """Each patch is a document of Talos' own, or a part of the one without a kind."""
    known = [*KINDS, *KINDS_SINCE_1_13]
    for path, patch in _patches(nodes):
        kind = patch.get("kind")
        if kind is None:
            yield from (Problem(*_at(path, found)) for found in _unknown(patch))
        elif kind not in known:
            fix = did_you_mean(str(kind), known)
            yield Problem(f"{path}.kind", str(kind), "is no document of Talos", fix)
        elif kind in KINDS_SINCE_1_13 and cluster.talos.startswith("v1.12."):
            yield Problem(
                f"{path}.kind",
                str(kind),
                f"is not known to Talos {cluster.talos}",
                "upgrade to Talos v1.13 first",
            )
        elif kind == "UserVolumeConfig" and (inner := _scalar(patch, *_DISK_SELECTOR)):
            yield Problem(f"{path}.{inner}", "set", *_NO_GROUP)
        elif patch.get("apiVersion") != "v1alpha1":
            yield Problem(
                f"{path}.apiVersion",
                str(patch.get("apiVersion", "missing")),
                f"is not the version of a {kind}",
                "write apiVersion: v1alpha1",
            )


def patches_leave_the_castle_alone(nodes: Nodes, cluster: Cluster) -> Iterator[Problem]:
    """What the castle sets itself is set by its own setting, and in no second place."""
    for path, patch in _patches(nodes):
        found = _fights(patch) if "kind" not in patch else _rival(patch, cluster)
        yield from (Problem(*_at(path, fight)) for fight in found)
        if "kind" not in patch and cluster.ntp and "time" in _group(patch, "machine"):
            yield Problem(
                f"{path}.machine.time",
                "set",
                "Talos refuses it beside cluster.ntp",
                "keep one of the two",
            )


def _patches(nodes: Nodes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every patch, with its path."""
    groups = {
        "nodes.control_planes": nodes.control_planes.patches,
        "nodes.workers": nodes.workers.patches,
    } | {
        f"nodes.overrides.{name}": it.patches or () for name, it in sorted(nodes.overrides.items())
    }
    for group, patches in groups.items():
        for number, patch in enumerate(patches):
            yield f"{group}.patches[{number}]", patch


def _at(path: str, found: Found) -> tuple[str, str, str, str]:
    """A problem's parts; what a patch holds may be a secret, and is not shown."""
    inner, reason, fix = found
    return f"{path}.{inner}" if inner else path, "set", reason, fix


def _unknown(patch: Mapping[str, Any]) -> Iterator[Found]:
    if {"op", "path"} <= patch.keys():
        yield "", "is a JSON patch", "write it as it shall stand in the machine config"
        return
    if not patch:
        yield "", "is empty", "take it out"
    for key, value in patch.items():
        if key not in MAIN:
            fix = did_you_mean(key, [*MAIN, "kind"])
            yield key, "is not a key of a machine config", fix
        elif MAIN[key] and not isinstance(value, dict):
            yield key, *_NO_GROUP
        elif MAIN[key]:
            for inner in value.keys() - {*MAIN[key], "$patch"}:
                fix = did_you_mean(inner, MAIN[key])
                yield f"{key}.{inner}", "is not a key of a machine config", fix
    for group in _GROUPS:
        if isinstance(patch.get(group[0]), dict) and (scalar := _scalar(patch, *group)):
            yield scalar, *_NO_GROUP
    kubelet = _group(patch, "machine", "kubelet")
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


def _fights(patch: Mapping[str, Any]) -> Iterator[Found]:
    for owned, (reason, fix) in OWNED.items():
        place = _touched(patch, owned)
        if place == owned:
            yield ".".join(place), reason, fix
        elif place:
            yield ".".join(place), "takes away what the castle sets there", "name single keys"
    mounts = _group(patch, "machine", "kubelet").get("extraMounts")
    for number, mount in enumerate(mounts if isinstance(mounts, list) else ()):
        if isinstance(mount, dict) and _is_of_longhorn(str(mount.get("destination", ""))):
            inner = f"machine.kubelet.extraMounts[{number}]"
            yield (
                inner,
                "belongs to the kubelet alone: Longhorn's pods do not see it, and before Talos "
                "1.13.3 it leaks to the host (siderolabs/talos#13069)",
                "leave it out: data_disk_gib mounts the data disk at /var/mnt/longhorn",
            )


def _is_of_longhorn(path: str) -> bool:
    """Whether a path is Longhorn's data path: ours, or its own default."""
    return path.rstrip("/") in ("/var/lib/longhorn", "/var/mnt/longhorn")


def _touched(patch: Any, owned: tuple[str, ...]) -> tuple[str, ...]:
    """How far a patch reaches into a place that is the castle's; nothing where it does not.

    A ``$patch: delete`` above that place would take it away with all around it.
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


def _rival(patch: Mapping[str, Any], cluster: Cluster) -> Iterator[Found]:
    kind, name = patch["kind"], patch.get("name")
    if kind == "HostnameConfig":
        yield "kind", *_NAME
    elif kind == "Layer2VIPConfig":
        yield "kind", *_NETWORK
    elif kind == "ResolverConfig":
        yield "kind", *_RESOLVER
    elif kind in _MOUNTED and name == "longhorn":
        yield "name", "is the name of Longhorn's volume on the data disk", "set data_disk_gib"
    elif kind == "TimeSyncConfig" and cluster.ntp:
        yield "kind", "cluster.ntp makes this document", "keep one of the two"
    elif kind == "RegistryMirrorConfig" and name in cluster.registry_mirrors:
        yield "name", "cluster.registry_mirrors makes this document", "keep one of the two"


def _group(patch: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    value: Any = patch
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
