"""Repairs VMs in the Pulumi state: removes them, corrects values, and adds missing disks.

If a storage does not answer while the provider reads a new disk, the provider writes a disk without
an interface to the state (bpg/terraform-provider-proxmox v0.111.1 proxmoxtf/resource/vm/disk Read).
Then every refresh and ``up`` fails with "Defined disk interface not supported", although the disk
exists. The repair copies the disks from the VM's inputs; a refresh then reads their real values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from settings.resource_types import MACHINE

RAW_STATE_DELTA = "__pulumi_raw_state_delta"
"""Output in which the Terraform bridge describes the structure of the other outputs. It must match
them, so the repair deletes it and the bridge creates it again
(pulumi/pulumi-terraform-bridge v3.133.0 pkg/tfbridge/rawstate.go)."""


def vms_with_missing_disk(deployment: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the resource names of VMs that lack a disk in the state."""
    resources = deployment.get("resources") or ()
    return tuple(r["urn"].rpartition("::")[2] for r in resources if _lacks_disk(r))


def restore_disks(exported: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an exported state in which these VMs have the disks of their inputs."""
    result = deepcopy(dict(exported))
    for resource in result["deployment"]["resources"]:
        if _lacks_disk(resource):
            resource["outputs"]["disks"] = [
                {key: value for key, value in disk.items() if key != "__defaults"}
                for disk in resource["inputs"]["disks"]
            ]
            resource["outputs"].pop(RAW_STATE_DELTA, None)
    return result


def without(exported: Mapping[str, Any], urns: Collection[str]) -> dict[str, Any]:
    """Return a copy of an exported state without these resources.

    Other resources stay, without their dependencies on the removed ones, as after a refresh that
    finds that a resource does not exist (pulumi/pulumi pkg/resource/deploy rebuildBaseState).
    """
    result = deepcopy(dict(exported))
    deployment = result["deployment"]
    deployment["resources"] = [it for it in deployment["resources"] if it["urn"] not in urns]
    for resource in deployment["resources"]:
        for key in ("dependencies", "replaceWith"):
            if key in resource:
                resource[key] = [urn for urn in resource[key] if urn not in urns]
        for name, found in (resource.get("propertyDependencies") or {}).items():
            resource["propertyDependencies"][name] = [urn for urn in found or () if urn not in urns]
        if resource.get("deletedWith") in urns:
            del resource["deletedWith"]
    return result


def with_values(
    exported: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a copy of an exported state with these values of VMs, by URN, as after a refresh."""
    result = deepcopy(dict(exported))
    for resource in result["deployment"]["resources"]:
        for key, value in values.get(resource["urn"], {}).items():
            resource["inputs"][key] = resource["outputs"][key] = value
    return result


def _lacks_disk(resource: Mapping[str, Any]) -> bool:
    outputs = resource.get("outputs") or {}
    if resource["type"] != MACHINE or "disks" not in outputs:
        return False
    # A disk that was detached by hand has no entry at all; Pulumi attaches it again.
    return any(not (disk or {}).get("interface") for disk in outputs["disks"] or ())
