"""What is read from the state, from the engine's answer and without it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pulumi
import pytest

from preflight import state
from preflight.state import StateError, read_running_stack, running_stack
from rehearsal.monitor import RecordingMonitor
from rehearsal.run import perform, rehearse
from settings import resource_types, stack_file
from settings.groups import PROJECT
from settings.running import RunningStack
from settings.version import VERSION
from tests.recorder import record


def test_a_stack_that_was_never_deployed_runs_nothing() -> None:
    found: list[RunningStack] = []
    record(lambda: found.append(read_running_stack()))
    assert found == [RunningStack()]


def deployed() -> dict[str, Any]:
    """The state that the reference leads to."""
    return rehearse("homelab").recording.state()


def outputs(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(it["type"], it["outputs"]) for it in answer.values()]


def read(answer: dict[str, Any]) -> RunningStack:
    """What a program reads whose engine answers this."""
    found: list[RunningStack] = []
    monitor = RecordingMonitor(PROJECT, "homelab", state=answer)
    nothing = stack_file.StackFile(config={}, secret_keys=[])
    perform(lambda: found.append(read_running_stack()), monitor, nothing)
    return found[0]


def test_a_deployed_stack_runs_what_its_file_says() -> None:
    found = read(deployed())
    worker = found.machines["castle-worker-1"]
    assert (worker.host, worker.vm_id, worker.address) == ("pve", 8010, "192.168.1.155")
    assert (worker.cores, worker.memory_mib) == (4, 8192)
    assert (worker.os_disk_gib, worker.data_disk_gib) == (34, 43)
    assert (worker.datastore, worker.pool, worker.talos) == ("local-lvm", "castle", "v1.13.9")
    assert worker.has_come_up and found.has_come_up and found.is_bootstrapped
    assert found.talos == "v1.13.9" and found.kubernetes == {"v1.36.3"}
    assert found.pool == "castle" and found.has_machine_secrets
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


def test_nothing_has_come_up_before_the_first_node_was_ready() -> None:
    answer = without(deployed(), resource_types.READY, *APPLICATIONS)
    assert come_up(answer) == set()
    assert not running_stack(outputs(answer)).has_come_up


def test_once_a_node_was_ready_all_that_have_a_resource_may_be_members() -> None:
    """One that was added may store copies of volumes before the engine has seen it ready; one that
    could not be removed has lost its config and its entry in the readiness already."""
    answer = without(deployed(), resource_types.APPLY, *APPLICATIONS)
    (readiness,) = of_type(answer, resource_types.READY).values()
    readiness["outputs"]["nodes"] = {"castle-worker-1": readiness["outputs"]["nodes"]}
    assert come_up(answer) == ALL
    # A VM whose node has no resource yet holds nothing.
    for urn, it in of_type(answer, resource_types.NODE).items():
        if it["outputs"]["node"]["name"] == "castle-worker-2":
            del answer[urn]
    assert come_up(answer) == ALL - {"castle-worker-2"}


@pytest.mark.parametrize("evidence", APPLICATIONS)
def test_what_is_deployed_proves_that_nodes_were_ready(evidence: str) -> None:
    """Somebody has removed the readiness from the state by hand."""
    others = set(APPLICATIONS) - {evidence}
    assert come_up(without(deployed(), resource_types.READY, *others)) == ALL


def test_a_restored_cluster_runs_before_its_nodes_are_ready() -> None:
    answer = without(deployed(), resource_types.READY, *APPLICATIONS)
    (bootstrap,) = of_type(answer, resource_types.BOOTSTRAP).values()
    bootstrap["outputs"]["restored_from"] = "old.db.age"
    assert come_up(answer) == ALL


def test_machines_are_in_the_order_of_their_names_whatever_the_engine_answers() -> None:
    backwards = dict(reversed(deployed().items()))
    assert list(running_stack(outputs(backwards)).machines) == sorted(ALL)


def test_a_machine_that_was_renamed_in_proxmox_is_known_by_its_vm_id() -> None:
    answer = deployed()
    for it in of_type(answer, resource_types.MACHINE).values():
        if it["outputs"]["name"] == "castle-worker-2":
            it["outputs"]["name"] = "nas"
    worker = running_stack(outputs(answer)).machines["castle-worker-2"]
    assert (worker.host, worker.talos, worker.has_come_up) == ("pve", "v1.13.9", True)


def test_nothing_secret_is_kept() -> None:
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
def test_a_value_that_is_not_in_the_state_is_none(lost: dict[str, Any]) -> None:
    answer = deployed()
    for it in answer.values():
        if it["type"] == resource_types.MACHINE:
            it["outputs"] |= lost
    assert len(running_stack(outputs(answer)).machines) == 4


def test_the_types_are_those_of_the_program() -> None:
    assert {state.MACHINE, state.MACHINE_SECRETS, state.HELM_RELEASE} == {
        resource_types.MACHINE,
        resource_types.SECRETS,
        resource_types.RELEASE,
    }


class Cli:
    """A CLI that answers, and remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.asked.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return subprocess.CompletedProcess(command, 0, json.dumps(self.answer).encode())


def refuse(*_: Any) -> None:
    raise ValueError("unknown function")


def test_without_an_answer_of_the_engine_the_cli_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = deployed()
    resources = [{"urn": urn, **it} for urn, it in answer.items()]
    cli = Cli({"deployment": {"resources": [*resources, {"type": "pulumi:pulumi:Stack"}]}})
    monkeypatch.setattr(pulumi.runtime, "invoke", refuse)
    monkeypatch.setattr(subprocess, "run", cli)
    assert read({}) == running_stack(outputs(answer))
    (asked,) = cli.asked
    assert "export" in asked and "--show-secrets" not in asked


def test_without_any_answer_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "invoke", refuse)
    monkeypatch.setattr(subprocess, "run", Cli(FileNotFoundError("no pulumi")))
    with pytest.raises(StateError, match="Nothing has been changed.*unknown function.*no pulumi"):
        read({})


def test_a_rehearsed_stack_is_a_fresh_one() -> None:
    assert rehearse("homelab").settings.running == RunningStack()
