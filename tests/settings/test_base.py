"""The paths of all settings below a group."""

from __future__ import annotations

from settings.base import leaves
from settings.groups import Nodes
from settings.load import GROUPS, model_of


def test_leaves_name_nested_groups_and_mappings() -> None:
    paths = [path for path, _ in leaves(Nodes, "nodes")]
    assert paths[0] == "nodes.control_planes.os_disk_gib"
    assert {"nodes.workers.patches", "nodes.overrides.NAME.vm_id"} <= set(paths)
    assert "nodes.workers" not in paths


def test_no_two_leaves_have_the_same_path() -> None:
    paths = [path for name, field in GROUPS.items() for path, _ in leaves(model_of(field), name)]
    assert len(paths) == len(set(paths)) > 80
