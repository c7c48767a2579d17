"""What is read from the state, from the engine's answer and without it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pulumi
import pytest

from preflight import state
from preflight.state import StateError, read_running_stack, running_stack
from rehearsal import kinds, stack_file
from rehearsal.monitor import RecordingMonitor
from rehearsal.run import perform, rehearse
from settings.models import PROJECT
from settings.running import RunningStack
from settings.version import VERSION
from tests.recorder import record


def test_a_stack_that_was_never_deployed_runs_nothing() -> None:
    found: list[RunningStack] = []
    record(lambda: found.append(read_running_stack()))
    assert found == [RunningStack()]


def deployed() -> dict[str, Any]:
    """The state that the reference leads to."""
    return rehearse("homelab").castle.state()


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


def test_a_node_has_come_up_once_it_was_ready() -> None:
    half = without(deployed(), kinds.READY)
    assert not running_stack(outputs(half)).has_come_up
    ready = deployed()
    (readiness,) = (it for it in ready.values() if it["type"] == kinds.READY)
    nodes = readiness["outputs"]["nodes"]
    readiness["outputs"]["nodes"] = {"castle-worker-1": nodes["castle-worker-1"]}
    found = running_stack(outputs(ready))
    # All have their config, and may be members of etcd or store copies of volumes.
    assert all(it.has_come_up for it in found.machines.values())
    bare = running_stack(outputs(without(ready, kinds.APPLY)))
    assert {name for name, it in bare.machines.items() if it.has_come_up} == {"castle-worker-1"}


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
        if it["type"] == kinds.MACHINE:
            it["outputs"] |= lost
    assert len(running_stack(outputs(answer)).machines) == 4


def test_the_types_are_those_of_the_program() -> None:
    assert {state.MACHINE, state.MACHINE_SECRETS, state.CONFIG_APPLY, state.HELM_RELEASE} == {
        kinds.MACHINE,
        kinds.SECRETS,
        kinds.APPLY,
        kinds.RELEASE,
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
