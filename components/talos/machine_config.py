"""Talos machine configs: what all nodes have in common, and what each has of its own.

Leaves out Talos' own defaults and the cluster's secrets, which the talos provider renders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import yaml

from components.talos.args import TalosClusterArgs
from settings.node import Node, Role

ZONE = "topology.kubernetes.io/zone"
"""Label of a node's failure domain. Here it is the Proxmox host: Longhorn spreads the copies of a
volume over zones, and a kubelet may set this label on its own node (NodeRestriction admits it)."""


def node_patches(node: Node, args: TalosClusterArgs) -> list[pulumi.Input[str]]:
    """What a node's machine config has beside that of its role, as texts.

    All of them are secret where one is: a list with one secret becomes a secret in the engine's
    state, and what is a secret there is plain nowhere.
    """
    castle = node_documents(node, args) + shared_documents(args.ntp, args.registry_mirrors)
    texts = [yaml.safe_dump(document) for document in [*castle, *node.patches]]
    return [pulumi.Output.secret(text) if args.secret_patches else text for text in texts]


def role_patch(installer: str, nodes: Sequence[Node]) -> dict[str, Any]:
    """What all nodes of a cluster have in common beside Talos' defaults."""
    patch: dict[str, Any] = {"machine": {"install": {"image": installer}}}
    if all(node.role is Role.CONTROL_PLANE for node in nodes):
        patch["cluster"] = {"allowSchedulingOnControlPlanes": True}
    return patch


def node_documents(node: Node, args: TalosClusterArgs) -> list[dict[str, Any]]:
    """What one node has of its own, as documents of a Talos machine config.

    The static address stands here as well as in the nocloud drive, so that a node keeps it
    whatever becomes of the drive. ``physical`` names the one network device of the machine.
    """
    interface: dict[str, Any] = {
        "deviceSelector": {"physical": True},
        "dhcp": False,
        "addresses": [f"{node.address}/{args.cidr.prefixlen}"],
        "routes": [{"network": "0.0.0.0/0", "gateway": str(args.gateway)}],
    }
    if node.role is Role.CONTROL_PLANE:
        interface["vip"] = {"ip": str(args.vip)}
    machine: dict[str, Any] = {
        "install": {"diskSelector": {"size": f"== {node.os_disk_gib}GiB"}},
        "network": {
            "interfaces": [interface],
            "nameservers": [str(server) for server in args.nameservers],
        },
        # Never the VIP, which is on the same network device. No extraMounts for Longhorn: pods see
        # paths of the host, and Talos hands user volumes to the kubelet itself (docs/storage.md).
        "kubelet": {"nodeIP": {"validSubnets": [f"{node.address}/32"]}},
        "nodeLabels": {ZONE: node.host},
    }
    documents: list[dict[str, Any]] = [
        {"machine": machine},
        # "off" in quotes: `machine.network.hostname` is refused beside this document, and so is
        # a name beside auto: stable, which Talos generates (facts/end-to-end.md 1-4).
        {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": node.name},
    ]
    if node.data_disk_gib is not None:
        machine["nodeLabels"]["node.longhorn.io/create-default-disk"] = "true"
        documents.append(
            {
                "apiVersion": "v1alpha1",
                "kind": "UserVolumeConfig",
                "name": "longhorn",
                "provisioning": {
                    "diskSelector": {"match": data_disk_selector(node.data_disk_gib)},
                    "minSize": f"{node.data_disk_gib - 1}GiB",
                    "grow": True,
                },
                "filesystem": {"type": "xfs"},
            }
        )
    return documents


def shared_documents(
    ntp: Sequence[str], registry_mirrors: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """What the settings ask of every node's machine config (docs of Talos 1.13, "Reference")."""
    documents: list[dict[str, Any]] = []
    if ntp:
        servers = {"servers": list(ntp)}
        documents.append({"apiVersion": "v1alpha1", "kind": "TimeSyncConfig", "ntp": servers})
    for registry, addresses in registry_mirrors.items():
        mirror = {"name": registry, "endpoints": [{"url": address} for address in addresses]}
        documents.append({"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", **mirror})
    return documents


def data_disk_selector(size_gib: int) -> str:
    """A CEL expression that is true for the data disk alone: by its size, and never the OS disk."""
    return f"!system_disk && disk.size >= {size_gib}u * GiB && disk.size < {size_gib + 1}u * GiB"
