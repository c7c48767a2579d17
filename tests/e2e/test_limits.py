"""What a machine that lives cannot become is refused, and the machine is not touched."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import Lab, missing
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def configs(lab: Lab) -> dict[int, Any]:
    """How Proxmox has each machine configured."""
    return {id_: lab.proxmox("GET", f"/nodes/pve1/qemu/{id_}/config") for id_ in lab.guests()}


def test_what_a_living_machine_cannot_become_is_refused_untouched(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    lab.set("longhorn.replicas", 1)
    lab.set("nodes.workers.count", 2)
    assert_up(lab)
    was = configs(lab)
    for path, wanted, back, words in (
        (
            "nodes.overrides",
            {"worker-1": {"data_disk_gib": None}},
            {},
            "castle-worker-1 runs with a data disk of 43 GiB, which cannot be removed",
        ),
        (
            "nodes.overrides",
            {"worker-1": {"address": f"{lab.prefix}.190"}},
            {},
            "a running node cannot change its address",
        ),
        (
            "nodes.overrides",
            {"worker-1": {"memory_mib": 9216, "data_disk_gib": 50}},
            {},
            "no disk of castle-worker-1 can grow in the same `up` that changes memory_mib",
        ),
        (
            "proxmox.pool",
            None,
            "castle",
            "castle-worker-2: the provider removes no VM from a pool",
        ),
        (
            "cluster.name",
            "keep",
            "castle",
            "is taken: on pve1 it belongs to castle-",
        ),
    ):
        lab.set(path, wanted)
        for done in (lab.preview(), lab.up("--skip-preview")):
            assert done.code != 0
            assert words in " ".join(done.output.split()), done.output
        assert configs(lab) == was
        lab.set(path, back)
    assert_up(lab)
    assert configs(lab) == was
    # Whoever renames one by hand has the same machine still.
    lab.proxmox("PUT", "/nodes/pve1/qemu/8011/config", name="renamed")
    assert_up(lab)
    assert_no_diff(lab)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)
