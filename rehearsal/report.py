"""The JSON output of a rehearsal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rehearsal import timeline
from rehearsal.record import Resource
from rehearsal.run import Rehearsal
from rehearsal.values import mask


def as_json(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return the rehearsal for ``--json``, secrets masked; docs/rehearsal.md documents the keys."""
    recording = rehearsal.recording
    return {
        "stack": rehearsal.stack,
        "resources": [_resource(resource) for resource in recording.resources],
        "up": [resource.urn for resource in timeline.order_up(recording)],
        "down": [resource.urn for resource in timeline.order_down(recording)],
        "criticalPath": [resource.urn for resource in timeline.critical_path(recording)],
        "addresses": addresses(rehearsal),
        "outputs": mask(recording.outputs),
        "notes": rehearsal.notes,
        "problems": [asdict(problem) for problem in rehearsal.problems],
    }


def _resource(resource: Resource) -> dict[str, Any]:
    return {
        "urn": resource.urn,
        "type": resource.type,
        "name": resource.name,
        "parent": resource.parent,
        "provider": resource.provider,
        "dependencies": list(resource.dependencies),
        "propertyDependencies": {
            name: list(urns) for name, urns in resource.property_dependencies.items()
        },
        "deletedWith": resource.deleted_with,
        "ignoreChanges": list(resource.ignore_changes),
        "inputs": mask(dict(resource.inputs)),
        "start": resource.start,
        "end": resource.end,
    }


def addresses(rehearsal: Rehearsal) -> list[dict[str, str]]:
    """Return the address plan: addresses and their owners, sorted by address."""
    settings = rehearsal.settings
    plan = [(settings.network.gateway, str(settings.network.gateway), "gateway")]
    if settings.network.dhcp:
        dhcp = settings.network.dhcp
        plan.append((dhcp.first, str(dhcp), "router's DHCP range"))
    plan += [(node.address, str(node.address), node.name) for node in settings.machines]
    plan.append((settings.cluster.vip, str(settings.cluster.vip), "VIP, Kubernetes API"))
    pool = settings.metallb.pool
    plan.append((pool.first, str(pool), "MetalLB pool"))
    plan.append((settings.ingress_address, str(settings.ingress_address), "ingress, 80 and 443"))
    return [{"address": text, "owner": owner} for _, text, owner in sorted(plan)]
