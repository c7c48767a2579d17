"""Repairs VMs in the Pulumi state that lack a disk.

If a storage does not answer while the provider reads a new disk, the provider writes a disk without
an interface to the state (bpg/terraform-provider-proxmox v0.111.1 proxmoxtf/resource/vm/disk Read).
Then every refresh and ``up`` fails with "Defined disk interface not supported", although the disk
exists. The repair copies the disks from the VM's inputs; a refresh then reads their real values.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def _lacks_disk(resource: Mapping[str, Any]) -> bool:
    outputs = resource.get("outputs") or {}
    if resource["type"] != MACHINE or "disks" not in outputs:
        return False
    # A disk that was detached by hand has no entry at all; Pulumi attaches it again.
    return any(not (disk or {}).get("interface") for disk in outputs["disks"] or ())
