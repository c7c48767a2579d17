"""A disk that is missing in the state is found, and replaced by the disk of the inputs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from commands import state_repair
from settings.resource_types import MACHINE

INPUT_DISKS = [
    {"__defaults": ["aio"], "interface": "scsi0", "size": 34, "importFrom": "local:import/a.qcow2"},
    {"__defaults": [], "interface": "scsi1", "size": 43},
]
OUTPUT_DISKS = [
    {"interface": "scsi0", "size": 34, "pathInDatastore": "vm-8000-disk-0"},
    {"interface": "scsi1", "size": 43, "pathInDatastore": "vm-8000-disk-1"},
]


def exported(*disks: dict[str, Any], kind: str = MACHINE) -> dict[str, Any]:
    vm = {
        "urn": f"urn:pulumi:homelab::ephemeral-castle::{kind}::machines-a",
        "type": kind,
        "inputs": {"disks": INPUT_DISKS, "vmId": 8000},
        "outputs": {"disks": list(disks), "vmId": 8000, state_repair.RAW_STATE_DELTA: {"obj": {}}},
    }
    return {"version": 3, "deployment": {"resources": [vm]}}


def test_a_state_without_missing_disks_is_not_changed() -> None:
    for state in (
        exported(*OUTPUT_DISKS),
        exported(OUTPUT_DISKS[0]),
        exported(),
        exported({}, kind="other"),
    ):
        assert state_repair.vms_with_missing_disk(state["deployment"]) == ()
        assert state_repair.restore_disks(state) == state
    assert state_repair.vms_with_missing_disk({}) == ()
    stack = {"urn": "a::b", "type": MACHINE}
    assert state_repair.vms_with_missing_disk({"resources": [stack]}) == ()


def test_missing_disks_are_replaced_by_the_disks_of_the_inputs() -> None:
    lost = {"interface": "", "size": 0}
    state = exported(lost, OUTPUT_DISKS[1])
    before = deepcopy(state)
    assert state_repair.vms_with_missing_disk(state["deployment"]) == ("machines-a",)
    repaired = state_repair.restore_disks(state)
    assert state == before
    assert state_repair.vms_with_missing_disk(repaired["deployment"]) == ()
    (vm,) = repaired["deployment"]["resources"]
    assert vm["outputs"] == {
        "disks": [
            {"interface": "scsi0", "size": 34, "importFrom": "local:import/a.qcow2"},
            {"interface": "scsi1", "size": 43},
        ],
        "vmId": 8000,
    }
    assert vm["inputs"] == before["deployment"]["resources"][0]["inputs"]


def test_a_removed_vm_is_no_dependency_of_others_any_more() -> None:
    vm, config, other = "urn:vm", "urn:config", "urn:other"
    state = {
        "version": 3,
        "deployment": {
            "resources": [
                {"urn": vm},
                {
                    "urn": config,
                    "dependencies": [vm, other],
                    "propertyDependencies": {"node": [vm], "endpoint": [other, vm]},
                    "deletedWith": vm,
                    "replaceWith": [vm],
                },
                {"urn": other, "deletedWith": config},
            ]
        },
    }
    before = deepcopy(state)
    assert state_repair.without(state, {vm})["deployment"]["resources"] == [
        {
            "urn": config,
            "dependencies": [other],
            "propertyDependencies": {"node": [], "endpoint": [other]},
            "replaceWith": [],
        },
        {"urn": other, "deletedWith": config},
    ]
    assert state == before
