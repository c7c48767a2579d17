"""What a rehearsal tells: one JSON object for programs, a picture for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rehearsal import timeline
from rehearsal.record import Resource
from rehearsal.run import Rehearsal
from rehearsal.values import mask


def as_json(found: Rehearsal) -> dict[str, Any]:
    """The whole rehearsal, with secrets masked; the keys are documented in docs/rehearsal.md."""
    recording = found.recording
    return {
        "stack": found.stack,
        "resources": [_resource(resource) for resource in recording.resources],
        "up": [resource.urn for resource in timeline.order_up(recording)],
        "down": [resource.urn for resource in timeline.order_down(recording)],
        "criticalPath": [resource.urn for resource in timeline.critical_path(recording)],
        "addresses": addresses(found),
        "outputs": mask(recording.outputs),
        "notes": found.notes,
        "problems": [asdict(problem) for problem in found.problems],
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


def addresses(found: Rehearsal) -> list[dict[str, str]]:
    """The address plan: who has which address, by address."""
    settings = found.settings
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
