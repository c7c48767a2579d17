"""A disk that the state has lost is found, and what was asked for takes its place."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from commands import state_repair
from settings.resource_types import MACHINE

ASKED = [
    {"__defaults": ["aio"], "interface": "scsi0", "size": 34, "importFrom": "local:import/a.qcow2"},
    {"__defaults": [], "interface": "scsi1", "size": 43},
]
READ = [
    {"interface": "scsi0", "size": 34, "pathInDatastore": "vm-8000-disk-0"},
    {"interface": "scsi1", "size": 43, "pathInDatastore": "vm-8000-disk-1"},
]


def exported(*disks: dict[str, Any], kind: str = MACHINE) -> dict[str, Any]:
    machine = {
        "urn": f"urn:pulumi:homelab::ephemeral-castle::{kind}::machines-a",
        "type": kind,
        "inputs": {"disks": ASKED, "vmId": 8000},
        "outputs": {"disks": list(disks), "vmId": 8000, state_repair.SHAPE: {"obj": {}}},
    }
    return {"version": 3, "deployment": {"resources": [machine]}}


def test_a_state_that_is_whole_stays_as_it_is() -> None:
    for state in (exported(*READ), exported(READ[0]), exported(), exported({}, kind="other")):
        assert state_repair.machines(state["deployment"]) == ()
        assert state_repair.mended(state) == state
    assert state_repair.machines({}) == ()
    stack = {"urn": "a::b", "type": MACHINE}
    assert state_repair.machines({"resources": [stack]}) == ()


def test_what_was_asked_for_takes_the_place_of_what_was_lost() -> None:
    lost = {"interface": "", "size": 0}
    state = exported(lost, READ[1])
    before = deepcopy(state)
    assert state_repair.machines(state["deployment"]) == ("machines-a",)
    mended = state_repair.mended(state)
    assert state == before
    assert state_repair.machines(mended["deployment"]) == ()
    (machine,) = mended["deployment"]["resources"]
    assert machine["outputs"] == {
        "disks": [
            {"interface": "scsi0", "size": 34, "importFrom": "local:import/a.qcow2"},
            {"interface": "scsi1", "size": 43},
        ],
        "vmId": 8000,
    }
    assert machine["inputs"] == before["deployment"]["resources"][0]["inputs"]
