"""What an ``up`` changes between two stack files, in which order, and what goes down."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rehearsal import __main__ as command
from rehearsal.change import Change, rehearse_change
from settings import resource_types
from settings.problems import SettingsError
from tests.rehearsals import FLUX, write_stack

Between = Callable[..., Change]

THREE = {"nodes.control_planes.count": 3, "nodes.control_planes.first_address": "192.168.1.231"}
HA = [f"castle-control-plane-{number}" for number in (1, 2, 3)]
WORKERS = [f"castle-worker-{number}" for number in (1, 2, 3)]


@pytest.fixture
def between(tmp_path: Path) -> Between:
    """Compare two variants of the reference stack: ``between({path: old}, {path: new})``."""

    def run(old: dict[str, Any], new: dict[str, Any]) -> Change:
        folders = tmp_path / "old", tmp_path / "new"
        for folder, changes in zip(folders, (old, new), strict=True):
            folder.mkdir()
            write_stack(folder, "homelab", changes)
        return rehearse_change("homelab", folders[0] / "Pulumi.homelab.yaml", folders[1])

    return run


def names(change: Change, operation: str) -> list[str]:
    """Return the names of the resources that are created, updated, replaced or deleted."""
    return [step.resource.name for step in change.steps if step.operation == operation]


def down(change: Change) -> list[str]:
    """Return the nodes and services that go down, in order."""
    return [step.effect.interrupts for step in change.steps if step.effect.interrupts]


def drained(change: Change) -> list[str]:
    """Return the nodes that are drained, in order. Check that each one has its own stage."""
    found = [step for step in change.steps if step.effect.drains]
    for before, after in pairwise(found):
        assert before.stage < after.stage, (before.resource.name, after.resource.name)
    assert all(step.effect.interrupts == step.effect.node for step in found)
    return [step.effect.node for step in found]


def test_equal_stack_files_have_no_steps(between: Between) -> None:
    change = between({}, {})
    assert (change.steps, change.problems) == ([], [])
    assert down(change) == []


def test_an_upgrade_drains_one_node_at_a_time_and_ends_with_the_configs(between: Between) -> None:
    old = {"cluster.talos": "v1.13.0", "cluster.kubernetes": "v1.36.2"}
    change = between(old, {})
    assert change.problems == []
    assert names(change, "replace") == ["image-pve"]
    assert drained(change) == ["castle-control-plane-1", *WORKERS]
    updates = names(change, "update")
    assert updates[0] == "cluster-etcd-snapshot"
    assert updates.index("cluster-castle-worker-3") < updates.index("cluster-kubernetes")
    assert set(updates[-5:]) == {
        *(f"cluster-{node}-config" for node in [HA[0], *WORKERS]),
        "record",
    }
    node = next(it for it in change.steps if it.resource.name == "cluster-castle-worker-1")
    assert "upgraded from Talos v1.13.0 to v1.13.9" in node.effect.message
    assert down(change)[-1] == "kube-apiserver on one control plane at a time"


def test_three_control_planes_are_upgraded_one_after_the_other(between: Between) -> None:
    change = between(THREE | {"cluster.talos": "v1.13.0"}, THREE)
    assert drained(change) == [*HA, *WORKERS]


def test_another_kernel_argument_is_a_rolling_upgrade(between: Between) -> None:
    change = between({}, {"image": {"kernel_arguments": ["net.ifnames=0"]}})
    assert names(change, "replace") == ["image-schematic", "image-pve"]
    assert drained(change) == ["castle-control-plane-1", *WORKERS]


def test_one_more_worker_creates_its_resources_and_interrupts_nothing(between: Between) -> None:
    change = between({}, {"nodes.workers.count": 4})
    assert sorted(names(change, "update")) == ["cluster-readiness", "longhorn-storage", "record"]
    assert {step.operation for step in change.steps} == {"create", "update"}
    assert set(names(change, "create")) == {
        "machines-castle-worker-4",
        "cluster-castle-worker-4",
        "cluster-castle-worker-4-config",
    }
    assert down(change) == []


def test_removed_workers_are_drained_one_after_the_other(between: Between) -> None:
    change = between({"nodes.workers.count": 4}, {"nodes.workers.count": 2})
    assert {step.operation for step in change.steps} == {"delete", "update"}
    assert sorted(names(change, "update")) == ["cluster-readiness", "longhorn-storage", "record"]
    gone = names(change, "delete")
    for number in (3, 4):
        node, machine = f"cluster-castle-worker-{number}", f"machines-castle-worker-{number}"
        assert gone.index(node) < gone.index(machine)
    nodes = [step for step in change.steps if step.resource.type == resource_types.NODE]
    assert [it.effect.node for it in nodes] == ["castle-worker-4", "castle-worker-3"]
    assert nodes[0].stage < nodes[1].stage
    assert "Longhorn moves its replicas to other nodes" in nodes[0].effect.message
    assert drained(change) == down(change) == ["castle-worker-4", "castle-worker-3"]


def test_more_memory_power_cycles_one_node_at_a_time(between: Between) -> None:
    change = between({}, {"nodes.workers.memory_mib": 9216})
    assert drained(change) == WORKERS
    assert names(change, "update")[:3] == [f"machines-{node}" for node in WORKERS]
    node = next(step for step in change.steps if step.effect.drains)
    assert "power-cycled (8192 → 9216 MiB memory)" in node.effect.message


def test_a_patch_that_needs_a_reboot_drains_every_node(between: Between) -> None:
    file = {"machine": {"files": [{"path": "/var/etc/a", "op": "create", "content": "a"}]}}
    reboots = between({}, {"nodes.workers.patches": [file]})
    assert drained(reboots) == WORKERS
    assert names(reboots, "update")[0] == "cluster-castle-worker-1"


def test_an_upgrade_a_patch_and_more_memory_need_one_reboot(between: Between) -> None:
    file = {"machine": {"files": [{"path": "/var/etc/a", "op": "create", "content": "a"}]}}
    new = {"nodes.workers.patches": [file], "nodes.workers.memory_mib": 9216}
    change = between({"cluster.talos": "v1.13.0"}, new)
    assert drained(change) == [HA[0], *WORKERS]
    node = next(it for it in change.steps if it.resource.name == "cluster-castle-worker-1")
    for words in ("upgraded from", "given its new machine config", "power-cycled"):
        assert words in node.effect.message


def test_a_change_without_a_reboot_interrupts_nothing(between: Between) -> None:
    change = between({}, {"cluster.ntp": ["192.168.1.1"]})
    assert drained(change) == []
    assert set(names(change, "update")) == {f"cluster-{node}-config" for node in [HA[0], *WORKERS]}
    assert {step.stage for step in change.steps} == {1}
    assert down(change) == []


def test_a_changed_chart_value_updates_the_release(between: Between) -> None:
    change = between({}, {"traefik.acme.server": "production"})
    assert names(change, "update")[0] == "traefik-release"
    assert drained(change) == []
    assert down(change) == ["Traefik"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            {"cluster.talos": "v1.13.9"},
            {"cluster.talos": "v1.12.7", "cluster.kubernetes": "v1.35.2"},
            "the cluster runs Talos v1.13.9, and Talos cannot be downgraded",
        ),
        (
            {"cluster.kubernetes": "v1.34.1"},
            {"cluster.kubernetes": "v1.36.3"},
            "an upgrade to v1.36.3 skips a minor version",
        ),
        (
            {"nodes.workers.data_disk_gib": 50},
            {"nodes.workers.data_disk_gib": 43},
            "the data disk of castle-worker-1 has 50 GiB, and a disk cannot shrink",
        ),
        (
            {"nodes.control_planes.data_disk_gib": 43},
            {"nodes.workers.data_disk_gib": None, "nodes.control_planes.data_disk_gib": 43}
            | {"longhorn.replicas": 1},
            "castle-worker-1 runs with a data disk of 43 GiB, which cannot be removed",
        ),
        (
            {},
            {"nodes.workers.first_address": "192.168.1.165"},
            "castle-worker-1 runs at 192.168.1.155, and a running node cannot change its address",
        ),
        (
            {},
            {"proxmox.disk_datastore": "ceph"},
            "castle-control-plane-1 has its disks on local-lvm",
        ),
    ],
    ids=["downgrade", "skipped minor", "smaller disk", "no disk", "address", "storage"],
)
def test_an_unsupported_change_is_refused(
    between: Between, old: dict[str, Any], new: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        between(old, new)
    assert words in " ".join(str(refused.value).split())


def test_one_more_host_moves_no_vm(between: Between) -> None:
    hosts = ["pve1", "pve2", "pve3"]
    change = between({"proxmox.hosts": hosts}, {"proxmox.hosts": [*hosts, "pve4"]})
    assert (change.steps, change.problems) == ([], [])


def test_an_added_data_disk_power_cycles_the_node(between: Between) -> None:
    change = between({}, {"nodes.control_planes.data_disk_gib": 43})
    assert change.problems == []
    assert drained(change) == ["castle-control-plane-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"cluster.name": "keep"},
        {"proxmox.first_vm_id": 8001},
        {"nodes.overrides": {"worker-1": {"vm_id": 8011}, "worker-2": {"vm_id": 8010}}},
    ],
    ids=lambda it: next(iter(it)),
)
def test_the_vm_id_of_another_vm_of_the_stack_is_refused(
    between: Between, change: dict[str, Any]
) -> None:
    problems = [str(problem) for problem in between({}, change).problems]
    assert any("VM id 8011 belongs to castle-worker-" in it for it in problems)


def test_other_vm_ids_replace_all_vms(between: Between) -> None:
    change = between({}, {"proxmox.first_vm_id": 8100})
    assert change.problems == []
    assert set(names(change, "replace")) >= {f"machines-{node}" for node in [HA[0], *WORKERS]}
    node = next(it for it in change.steps if it.resource.name == "cluster-castle-worker-1")
    assert "removes the member on the old VM" in node.effect.message


def test_a_refused_change_is_printed_with_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stack(tmp_path, "homelab", {"cluster.kubernetes": "v1.34.1"})
    old = str(tmp_path / "Pulumi.homelab.yaml")
    assert command.main(["--from", old]) == 2
    assert "write the newest v1.35.x, run `make up`" in " ".join(capsys.readouterr().err.split())


def test_a_change_is_printed_as_tables_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stack(tmp_path, "homelab", {"nodes.workers.count": 4})
    old = str(tmp_path / "Pulumi.homelab.yaml")
    assert command.main(["--from", old]) == 0
    # The title holds the path of the old file, so a long path wraps it anywhere.
    output = " ".join(capsys.readouterr().out.split())
    assert "3 deleted" in output
    assert "Goes down, in this order" in output
    assert command.main(["--from", old, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {step["what"] for step in document["steps"]} == {"delete", "update"}
    assert document["interruptions"][0]["name"] == "castle-worker-4"
    assert document["interruptions"][0]["drained"] is True


def test_no_changes_are_reported_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--from", "Pulumi.homelab.yaml"]) == 0
    assert "No changes compared with" in capsys.readouterr().out


def test_a_missing_old_file_is_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--from", "no-such-file.yaml"]) == 2
    assert "FROM = no-such-file.yaml" in capsys.readouterr().err


def test_a_problem_of_the_old_file_names_that_file(tmp_path: Path) -> None:
    write_stack(tmp_path, "homelab", {"cluster.vip": "192.168.1.253"})
    old = tmp_path / "Pulumi.homelab.yaml"
    with pytest.raises(SettingsError) as raised:
        rehearse_change("homelab", old)
    assert {it.path for it in raised.value.problems} == {
        f"{old}: nodes.control_planes.first_address"
    }


def notes(change: Change) -> str:
    """Return the notes as one text. Check that no note is there twice."""
    assert len(change.notes) == len(set(change.notes))
    return "\n".join(change.notes)


def message_of(change: Change, name: str) -> str:
    """Return the message of the step on the resource of this name."""
    (step,) = (step for step in change.steps if step.resource.name == name)
    return step.effect.message


def test_more_replicas_copy_the_volumes_of_the_stack(between: Between) -> None:
    change = between({}, {"longhorn.replicas": 3})
    assert message_of(change, "longhorn-storage") == "traefik/traefik-certificates: 2 → 3 copies"
    assert "All other volumes keep their number until `make replicas`" in notes(change)
    assert "deletes" not in notes(change)


def test_fewer_workers_lower_the_default_replicas(between: Between) -> None:
    default = {"longhorn.replicas": None}
    change = between(default | {"nodes.workers.count": 2}, default | {"nodes.workers.count": 1})
    assert message_of(change, "longhorn-storage") == "traefik/traefik-certificates: 2 → 1 copies"
    assert "longhorn.replicas: 2 → 1. " in notes(change)
    assert "Longhorn deletes the surplus copies" in notes(change)


def test_more_workers_raise_the_default_replicas(between: Between) -> None:
    default = {"longhorn.replicas": None}
    change = between(default | {"nodes.workers.count": 1}, default | {"nodes.workers.count": 2})
    assert message_of(change, "longhorn-storage") == (
        "waits until Longhorn uses the new disks; traefik/traefik-certificates: 1 → 2 copies"
    )


def test_another_reclaim_policy_applies_to_new_volumes(between: Between) -> None:
    change = between({}, {"longhorn.reclaim_policy": "delete"})
    assert names(change, "update") == ["longhorn-release"]
    assert message_of(change, "longhorn-release") == (
        "is updated in place; new volumes get reclaim policy Delete, existing volumes keep Retain"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("path", "./b"), ("branch", "home"), ("url", "ssh://git@git.tazlab.net/me/other.git")],
)
def test_another_source_of_flux_notes_what_flux_deletes(
    between: Between, key: str, value: str
) -> None:
    output = notes(between(FLUX, deepcopy(FLUX) | {f"flux.{key}": value}))
    old = FLUX["flux"].get(key, "./" if key == "path" else "main")
    assert f"flux.{key}: {old} → {value}" in output
    assert "Flux deletes everything that it applied and that is not in the new source" in output
    assert "their volumes and data stay in Longhorn, released" in output


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("delete", "delete", "Longhorn deletes their data (longhorn.reclaim_policy: delete)"),
        ("delete", "retain", "changes from delete to retain, but each volume has the policy"),
        ("retain", "delete", "changes from retain to delete, but each volume has the policy"),
    ],
)
def test_the_note_names_both_reclaim_policies(
    between: Between, old: str, new: str, words: str
) -> None:
    first = deepcopy(FLUX) | {"longhorn.reclaim_policy": old}
    second = deepcopy(FLUX) | {"longhorn.reclaim_policy": new, "flux.path": "./b"}
    assert words in notes(between(first, second))


def test_another_interval_of_flux_has_no_note(between: Between) -> None:
    assert notes(between(FLUX, deepcopy(FLUX) | {"flux.interval": "5m"})) == ""


def test_a_note_is_printed_as_text_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stack(tmp_path, "homelab", {"longhorn.replicas": 3})
    old = str(tmp_path / "Pulumi.homelab.yaml")
    assert command.main(["--from", old]) == 0
    assert "Longhorn deletes the surplus copies" in " ".join(capsys.readouterr().out.split())
    assert command.main(["--from", old, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert any("Longhorn deletes the surplus copies" in note for note in document["notes"])


def test_a_comparison_needs_no_tools(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert between({"cluster.talos": "v1.13.0"}, {}).problems == []


def test_a_comparison_opens_no_connection(
    between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    def record(*args: Any, **kwargs: Any) -> None:
        attempts.append(args)
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, record)
    monkeypatch.setattr(socket, "getaddrinfo", record)
    # The rehearsal's own guard would refuse a connection before the recorder sees it.
    for module in ("run", "change"):
        monkeypatch.setattr(f"rehearsal.{module}.offline", contextlib.nullcontext)
    between({"cluster.talos": "v1.13.0"}, {"proxmox.first_vm_id": 8100, "nodes.workers.count": 2})
    assert attempts == []
