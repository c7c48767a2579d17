"""Machines of which the state has lost a disk, and how the state gets it back.

Where a storage refuses to tell what a new disk is, the provider leaves an entry without an
interface in its place (bpg/terraform-provider-proxmox v0.111.1 proxmoxtf/resource/vm/disk Read):
neither a refresh nor an ``up`` gets over it ("Defined disk interface not supported"). The disk
itself is there. So what was asked for is put into the state again, and a refresh then reads what
is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from settings.resource_types import MACHINE

SHAPE = "__pulumi_raw_state_delta"
"""What the provider's bridge notes of the shape of the rest, and must fit it; it makes it anew
(pulumi/pulumi-terraform-bridge v3.133.0 pkg/tfbridge/rawstate.go)."""


def machines(deployment: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the machines that have lost a disk."""
    resources = deployment.get("resources") or ()
    return tuple(r["urn"].rpartition("::")[2] for r in resources if _is_torn(r))


def mended(exported: Mapping[str, Any]) -> dict[str, Any]:
    """An exported state in which each of them has the disks that were asked for."""
    result = deepcopy(dict(exported))
    for resource in result["deployment"]["resources"]:
        if _is_torn(resource):
            resource["outputs"]["disks"] = [
                {key: value for key, value in disk.items() if key != "__defaults"}
                for disk in resource["inputs"]["disks"]
            ]
            resource["outputs"].pop(SHAPE, None)
    return result


def _is_torn(resource: Mapping[str, Any]) -> bool:
    outputs = resource.get("outputs") or {}
    if resource["type"] != MACHINE or "disks" not in outputs:
        return False
    # One that was detached by hand is not there at all, and the engine puts it back.
    return any(not (disk or {}).get("interface") for disk in outputs["disks"] or ())
