"""Patches of the Talos machine configs: one for each role, and several for each node.

The Talos provider renders Talos' defaults and the cluster's secrets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import yaml

from components.talos.args import TalosClusterArgs
from settings.node import Node, Role

ZONE = "topology.kubernetes.io/zone"
"""Node label for the failure domain, set to the Proxmox host: Longhorn puts the copies of a volume
into different zones. NodeRestriction allows a kubelet to set this label on its own node."""


def node_patches(node: Node, args: TalosClusterArgs) -> list[pulumi.Input[str]]:
    """Return the config patches of a node as YAML texts: the program's, then the stack file's.

    If one patch is secret, all are, because Pulumi stores a list with a secret element as a secret.
    """
    own = node_documents(node, args) + shared_documents(args.ntp, args.registry_mirrors)
    texts = [yaml.safe_dump(document) for document in [*own, *node.patches]]
    return [pulumi.Output.secret(text) if args.secret_patches else text for text in texts]


def role_patch(installer: str, nodes: Sequence[Node]) -> dict[str, Any]:
    """Return the patch of the machine config that is rendered for a role."""
    patch: dict[str, Any] = {"machine": {"install": {"image": installer}}}
    if all(node.role is Role.CONTROL_PLANE for node in nodes):
        patch["cluster"] = {"allowSchedulingOnControlPlanes": True}
    return patch


def node_documents(node: Node, args: TalosClusterArgs) -> list[dict[str, Any]]:
    """Return the machine config documents with the values of one node.

    They repeat the static address of the nocloud drive, so that the node does not depend on the
    drive. ``physical`` selects the VM's only network device.
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
        # Without this, the kubelet could use the VIP, which is on the same network device.
        # Longhorn needs no extraMounts: pods see paths of the host, and Talos passes user volumes
        # to the kubelet (docs/storage.md).
        "kubelet": {"nodeIP": {"validSubnets": [f"{node.address}/32"]}},
        "nodeLabels": {ZONE: node.host},
    }
    documents: list[dict[str, Any]] = [
        {"machine": machine},
        # Talos generates a HostnameConfig with `auto: stable`. It refuses a hostname beside that
        # value, so `auto` must be "off" (a string, not the YAML boolean). It also refuses
        # `machine.network.hostname` if there is a HostnameConfig.
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
    """Return the machine config documents for time servers and registry mirrors, for all nodes."""
    documents: list[dict[str, Any]] = []
    if ntp:
        servers = {"servers": list(ntp)}
        documents.append({"apiVersion": "v1alpha1", "kind": "TimeSyncConfig", "ntp": servers})
    for registry, addresses in registry_mirrors.items():
        mirror = {"name": registry, "endpoints": [{"url": address} for address in addresses]}
        documents.append({"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", **mirror})
    return documents


def data_disk_selector(size_gib: int) -> str:
    """Return a CEL expression that selects the data disk by its size, and never the OS disk."""
    return f"!system_disk && disk.size >= {size_gib}u * GiB && disk.size < {size_gib + 1}u * GiB"
