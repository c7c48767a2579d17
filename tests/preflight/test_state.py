"""Reading the running stack from the answer of the engine, or with the Pulumi CLI."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pulumi
import pytest

from preflight.state import StateError, read_running_stack, running_stack
from rehearsal.monitor import RecordingMonitor
from rehearsal.run import perform
from settings import resource_types, stack_file
from settings.groups import PROJECT
from settings.running import RunningStack
from settings.version import VERSION
from tests.recorder import record
from tests.rehearsals import rehearsed_stack


def test_a_stack_that_was_never_deployed_runs_nothing() -> None:
    found: list[RunningStack] = []
    record(lambda: found.append(read_running_stack()))
    assert found == [RunningStack()]


def test_providers_and_components_are_no_resources() -> None:
    """The state of an ``up`` that was refused before it created anything."""
    types = ("pulumi:pulumi:Stack", "pulumi:providers:proxmoxve", "ephemeral-castle:index:Machines")
    assert not running_stack((type_, {}) for type_ in types).has_resources
    assert running_stack([(resource_types.MACHINE, {})]).has_resources


def deployed() -> dict[str, Any]:
    """The state after a deployment of Pulumi.homelab.yaml."""
    return rehearsed_stack("homelab").recording.state()


def outputs(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(it["type"], it["outputs"]) for it in answer.values()]


def read(answer: dict[str, Any]) -> RunningStack:
    """The running stack that a program reads if the engine returns this answer."""
    found: list[RunningStack] = []
    monitor = RecordingMonitor(PROJECT, "homelab", state=answer)
    nothing = stack_file.StackFile(config={}, secret_keys=[])
    perform(lambda: found.append(read_running_stack()), monitor, nothing)
    return found[0]


def test_a_deployed_stack_has_the_values_of_its_stack_file() -> None:
    found = read(deployed())
    worker = found.machines["castle-worker-1"]
    assert (worker.host, worker.vm_id, worker.address) == ("pve", 8010, "192.168.1.155")
    assert (worker.cores, worker.memory_mib) == (4, 8192)
    assert (worker.os_disk_gib, worker.data_disk_gib) == (34, 43)
    assert (worker.datastore, worker.pool, worker.talos) == ("local-lvm", "castle", "v1.13.9")
    assert worker.has_come_up and found.has_come_up and found.is_bootstrapped
    assert found.talos == "v1.13.9" and found.kubernetes == {"v1.36.3"}
    assert found.pool == "castle" and found.has_machine_secrets and found.has_resources
    assert found.charts["longhorn"] == found.record["charts"]["longhorn"]
    assert found.record["program"] == VERSION
    assert found.record["machines"]["castle-worker-1"]["data_disk_gib"] == 43


def without(answer: dict[str, Any], *types: str) -> dict[str, Any]:
    return {urn: it for urn, it in answer.items() if it["type"] not in types}


def of_type(answer: dict[str, Any], type_: str) -> dict[str, dict[str, Any]]:
    return {urn: it for urn, it in answer.items() if it["type"] == type_}


def come_up(answer: dict[str, Any]) -> set[str]:
    return {name for name, it in running_stack(outputs(answer)).machines.items() if it.has_come_up}


ALL = {f"castle-{name}" for name in ("control-plane-1", "worker-1", "worker-2", "worker-3")}
APPLICATIONS = (resource_types.RECORD, resource_types.RELEASE)


def test_no_node_has_come_up_before_the_first_was_ready() -> None:
    answer = without(deployed(), resource_types.READY, *APPLICATIONS)
    assert come_up(answer) == set()
    assert not running_stack(outputs(answer)).has_come_up


def test_all_nodes_with_a_resource_have_come_up_after_the_first_was_ready() -> None:
    """A new node may store copies of volumes before its ``up`` sees it ready. A node whose removal
    failed has already lost its machine config and its entry in the readiness."""
    answer = without(deployed(), resource_types.APPLY, *APPLICATIONS)
    (readiness,) = of_type(answer, resource_types.READY).values()
    readiness["outputs"]["nodes"] = {"castle-worker-1": readiness["outputs"]["nodes"]}
    assert come_up(answer) == ALL
    # A VM without a NodeLifecycle resource holds no data.
    for urn, it in of_type(answer, resource_types.NODE).items():
        if it["outputs"]["node"]["name"] == "castle-worker-2":
            del answer[urn]
    assert come_up(answer) == ALL - {"castle-worker-2"}


@pytest.mark.parametrize("evidence", APPLICATIONS)
def test_a_record_or_a_release_proves_that_nodes_were_ready(evidence: str) -> None:
    """Even if a user has deleted the readiness from the state."""
    others = set(APPLICATIONS) - {evidence}
    assert come_up(without(deployed(), resource_types.READY, *others)) == ALL


def test_nodes_of_a_restored_cluster_have_come_up_before_they_are_ready() -> None:
    answer = without(deployed(), resource_types.READY, *APPLICATIONS)
    (bootstrap,) = of_type(answer, resource_types.BOOTSTRAP).values()
    bootstrap["outputs"]["restored_from"] = "old.db.age"
    assert come_up(answer) == ALL


def test_machines_are_sorted_by_name() -> None:
    backwards = dict(reversed(deployed().items()))
    assert list(running_stack(outputs(backwards)).machines) == sorted(ALL)


def test_a_vm_that_was_renamed_in_proxmox_is_identified_by_its_vm_id() -> None:
    answer = deployed()
    for it in of_type(answer, resource_types.MACHINE).values():
        if it["outputs"]["name"] == "castle-worker-2":
            it["outputs"]["name"] = "nas"
    worker = running_stack(outputs(answer)).machines["castle-worker-2"]
    assert (worker.host, worker.talos, worker.has_come_up) == ("pve", "v1.13.9", True)


def test_a_running_stack_contains_no_secrets() -> None:
    shown = repr(running_stack(outputs(deployed())))
    assert "KEY" not in shown and "rehearsal" not in shown
    assert "BEGIN" not in shown


@pytest.mark.parametrize(
    "lost",
    [
        {"disks": None},
        {"disks": [{"size": 8.0}]},
        {"initialization": None},
        {"cpu": None, "memory": None, "tags": None},
        {"nodeName": {"4dabf18193072939515e22adb298388d": "ciphertext"}},
    ],
    ids=lambda it: next(iter(it)),
)
def test_missing_outputs_of_a_vm_are_accepted(lost: dict[str, Any]) -> None:
    answer = deployed()
    for it in answer.values():
        if it["type"] == resource_types.MACHINE:
            it["outputs"] |= lost
    assert len(running_stack(outputs(answer)).machines) == 4


class Cli:
    """A fake Pulumi CLI that records its commands."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return subprocess.CompletedProcess(command, 0, json.dumps(self.answer).encode())


def refuse(*_: Any) -> None:
    raise ValueError("unknown function")


def test_the_cli_reads_the_state_if_the_engine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = deployed()
    resources = [{"urn": urn, **it} for urn, it in answer.items()]
    cli = Cli({"deployment": {"resources": [*resources, {"type": "pulumi:pulumi:Stack"}]}})
    monkeypatch.setattr(pulumi.runtime, "invoke", refuse)
    monkeypatch.setattr(subprocess, "run", cli)
    assert read({}) == running_stack(outputs(answer))
    (command,) = cli.commands
    assert "export" in command and "--show-secrets" not in command


def test_the_program_stops_if_engine_and_cli_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "invoke", refuse)
    monkeypatch.setattr(subprocess, "run", Cli(FileNotFoundError(2, "no pulumi")))
    with pytest.raises(StateError, match="Nothing has been changed.*unknown function.*no pulumi"):
        read({})


def test_a_rehearsal_starts_with_an_empty_running_stack() -> None:
    assert rehearsed_stack("homelab").settings.running == RunningStack()
