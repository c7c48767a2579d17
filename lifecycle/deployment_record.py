"""The record of success: what the last ``up`` that succeeded brought the stack to, and by which
version of this program.

The program registers it last, and it depends on everything that the program deploys. If an ``up``
fails half-way, the record keeps what it said before. (An output of the stack would not: the engine
stores the outputs of an ``up`` that failed, too.) What the engine deletes, it deletes after this: a
node whose removal fails is missing in the record, and is still in the state.

It holds no secret. ``preflight/state.py`` reads it at the start of the next run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi import dynamic

from lifecycle.provider import MODULE, Provider
from settings.version import VERSION

if TYPE_CHECKING:
    from settings.models import Settings


class DeploymentRecord(dynamic.Resource, module=MODULE, name="DeploymentRecord"):
    """What the stack was last brought to."""

    def __init__(
        self, resource_name: str, settings: Settings, opts: pulumi.ResourceOptions
    ) -> None:
        """Record ``settings``; ``opts`` let it depend on everything that is deployed."""
        inputs = {"record": build_record(settings)}
        super().__init__(DeploymentRecordProvider(), resource_name, inputs, opts)


class DeploymentRecordProvider(Provider):
    """Stores the record, and does nothing else."""

    name = "DeploymentRecord"
    kept = ("record",)

    def id_of(self, props: Mapping[str, Any]) -> str:
        """There is one in a stack."""
        return "deployment-record"


def build_record(settings: Settings) -> dict[str, Any]:
    """Build the record of settings that are deployed. Values that are not set are left out."""
    cluster, network, proxmox = settings.cluster, settings.network, settings.proxmox
    charts = {
        name: group.chart_version
        for name in ("longhorn", "metallb", "traefik", "flux")
        if (group := getattr(settings, name)) is not None
    }
    record: dict[str, Any] = {
        "program": VERSION,
        "cluster": cluster.name,
        "talos": cluster.talos,
        "kubernetes": cluster.kubernetes,
        "vip": str(cluster.vip),
        "network": {
            "cidr": str(network.cidr),
            "gateway": str(network.gateway),
            "nameservers": [str(address) for address in settings.nameservers],
            "bridge": network.bridge,
            "vlan": network.vlan,
        },
        "proxmox": {
            "image_datastore": proxmox.image_datastore,
            "disk_datastore": proxmox.disk_datastore,
            "pool": proxmox.pool,
        },
        "machines": {
            node.name: {
                "role": str(node.role),
                "host": node.host,
                "vm_id": node.vm_id,
                "address": str(node.address),
                "cores": node.cores,
                "memory_mib": node.memory_mib,
                "os_disk_gib": node.os_disk_gib,
                "data_disk_gib": node.data_disk_gib,
                "keep_data_disk_on_destroy": node.keep_data_disk_on_destroy,
            }
            for node in settings.machines
        },
        "charts": charts,
        "replicas": settings.replicas,
        "extensions": list(settings.image.extensions),
        "metallb_pool": str(settings.metallb.pool),
        "exposure": settings.traefik.exposure,
        "ingress_address": str(settings.ingress_address),
        "host": settings.whoami.host,
    }
    return _without_nulls(record)


def _without_nulls(record: dict[str, Any]) -> dict[str, Any]:
    """The same without keys that are null, which the engine drops from the state."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in record.items()
        if value is not None
    }
