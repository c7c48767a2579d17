"""The deployment record: settings and program version of the last ``up`` that succeeded.

It depends on everything that the program deploys, so a failed ``up`` does not change the record.
(Stack outputs do change: Pulumi also stores the outputs of a failed ``up``.) Pulumi deletes
resources after it has stored the record, so a node whose removal failed is in the state but not in
the record. The record contains no secret. ``preflight/state.py`` reads it at the start of the next
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.provider import Provider, Resource
from settings.version import VERSION

if TYPE_CHECKING:
    from settings.models import Settings


@dataclass(frozen=True)
class DeploymentRecordArgs:
    """Arguments of ``DeploymentRecord``."""

    settings: Settings
    """The settings to record."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return {"record": build_record(self.settings)}


@dataclass(frozen=True, kw_only=True)
class DeploymentRecordInputs:
    """What the provider gets."""

    record: Mapping[str, Any]


class DeploymentRecord(Resource[DeploymentRecordArgs]):
    """The settings of the last successful ``up``. It must depend on everything that is deployed."""


class DeploymentRecordProvider(Provider[DeploymentRecordInputs]):
    """Only stores the record in the state."""

    name = "DeploymentRecord"
    inputs = DeploymentRecordInputs
    stored = ("record",)

    def id_of(self, inputs: DeploymentRecordInputs) -> str:
        """A constant: a stack has one record."""
        return "deployment-record"


def build_record(settings: Settings) -> dict[str, Any]:
    """Build the record of these settings. It omits values that are not set."""
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
    """Remove keys whose value is null, because Pulumi drops them from the state."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in record.items()
        if value is not None
    }
