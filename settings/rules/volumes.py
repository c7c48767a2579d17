"""Rules on the user volumes that patches add."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator

from settings.groups import Cluster, Nodes, Proxmox
from settings.node import Node, Role
from settings.plan import plan_nodes
from settings.problems import Problem

_COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def user_volumes_leave_the_data_disk(
    cluster: Cluster, nodes: Nodes, proxmox: Proxmox
) -> Iterator[Problem]:
    """No user volume of a patch matches the data disk: Longhorn's volume needs the whole disk."""
    reported = set()
    for node in plan_nodes(cluster, nodes, proxmox):
        for path, match in _user_volumes(node, nodes).values():
            size_gib = node.data_disk_gib
            if size_gib is None or path in reported or not _matches_surely(match, size_gib):
                continue
            reported.add(path)
            yield Problem(
                f"{path}.provisioning.diskSelector.match",
                "set",
                f"the user volume would take space on Longhorn's data disk of {node.short_name} "
                f"({size_gib} GiB), and Longhorn's volume needs the whole disk",
                "choose an expression that does not match this disk",
            )


def _user_volumes(node: Node, nodes: Nodes) -> dict[str, tuple[str, str]]:
    """Return the path and the CEL expression of each user volume, by the name of the volume.

    Patches of one volume are merged: the last expression counts.
    """
    is_worker = node.role is Role.WORKER
    group = "workers" if is_worker else "control_planes"
    of_role = len((nodes.workers if is_worker else nodes.control_planes).patches)
    found = {}
    for number, patch in enumerate(node.patches):
        path = (
            f"nodes.{group}.patches[{number}]"
            if number < of_role
            else f"nodes.overrides.{node.short_name}.patches[{number - of_role}]"
        )
        provisioning = patch.get("provisioning")
        selector = provisioning.get("diskSelector") if isinstance(provisioning, dict) else None
        if patch.get("kind") == "UserVolumeConfig" and isinstance(selector, dict):
            found[str(patch.get("name", ""))] = path, str(selector.get("match", ""))
    return found


def _matches_surely(match: str, size_gib: int) -> bool:
    """Return whether an expression matches every data disk of this size.

    Only Talos evaluates all of CEL. An expression with anything but sizes and ``!system_disk``,
    such as a device name, is accepted.
    """
    for term in match.split("&&"):
        size = re.fullmatch(r"disk\.size\s*([<>]=?)\s*(\d+)u?\s*\*\s*GiB", term.strip())
        is_true = _COMPARED[size[1]](size_gib, int(size[2])) if size else False
        if term.strip() != "!system_disk" and not is_true:
            return False
    return True
