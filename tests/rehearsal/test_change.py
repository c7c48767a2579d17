"""What an ``up`` would change between two stack files, in order, and what is away meanwhile."""

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
from rehearsal import answers, downtime
from rehearsal.change import DYNAMIC, Change, rehearse_change
from settings import resource_types
from settings.problems import SettingsError
from tests.rehearsal.conftest import FLUX, write_stack

Between = Callable[..., Change]

THREE = {"nodes.control_planes.count": 3, "nodes.control_planes.first_address": "192.168.1.231"}
HA = [f"castle-control-plane-{number}" for number in (1, 2, 3)]
WORKERS = [f"castle-worker-{number}" for number in (1, 2, 3)]


@pytest.fixture
def between(tmp_path: Path) -> Between:
    """Compare two variants of the reference: ``between({path: old}, {path: new})``."""

    def run(old: dict[str, Any], new: dict[str, Any]) -> Change:
        folders = tmp_path / "old", tmp_path / "new"
        for folder, changes in zip(folders, (old, new), strict=True):
            folder.mkdir()
            write_stack(folder, "homelab", changes)
        return rehearse_change("homelab", folders[0] / "Pulumi.homelab.yaml", folders[1])

    return run


def names(change: Change, what: str) -> list[str]:
    """The resources to which this is done, in order."""
    return [step.resource.name for step in change.steps if step.what == what]


def away(change: Change) -> dict[str, int]:
    """For how long each service is away."""
    return {it.service: it.seconds for it in downtime.expected(change)}


def turns(change: Change) -> list[str]:
    """The nodes that go down, in order; never two at a time."""
    found = [step for step in change.steps if step.effect.away_s]
    for before, after in pairwise(found):
        assert before.end <= after.start, (before.resource.name, after.resource.name)
    return [step.effect.node for step in found]


def test_every_dynamic_resource_is_asked_itself() -> None:
    known = {type_ for type_ in answers._RESOURCES if type_.startswith("pulumi-python:")}
    assert known == DYNAMIC.keys()


def test_nothing_changed(between: Between) -> None:
    change = between({}, {})
    assert (change.steps, change.problems) == ([], [])
    assert set(away(change).values()) == {0}


def test_a_new_talos_and_kubernetes_with_one_control_plane(between: Between) -> None:
    old = {"cluster.talos": "v1.13.0", "cluster.kubernetes": "v1.36.2"}
    change = between(old, {})
    assert change.problems == []
    assert names(change, "replace") == ["image-pve"]
    assert turns(change) == ["castle-control-plane-1", *WORKERS]
    updates = names(change, "update")
    assert updates[0] == "cluster-etcd-snapshot"
    assert updates.index("cluster-castle-worker-3") < updates.index("cluster-kubernetes")
    assert set(updates[-5:]) == {
        *(f"cluster-{node}-config" for node in [HA[0], *WORKERS]),
        "record",
    }
    node = next(it for it in change.steps if it.resource.name == "cluster-castle-worker-1")
    assert "upgraded from Talos v1.13.0 to v1.13.9" in node.effect.says
    assert away(change)["Kubernetes API"] > 0
    assert 0 < away(change)["Traefik"] < away(change)["whoami"]
    assert away(change)["Longhorn volumes"] == 0


def test_with_three_control_planes_the_api_answers_throughout(between: Between) -> None:
    change = between(THREE | {"cluster.talos": "v1.13.0"}, THREE)
    assert turns(change) == [*HA, *WORKERS]
    assert away(change)["Kubernetes API"] == 0


def test_another_extension_is_a_rolling_upgrade_too(between: Between) -> None:
    change = between({}, {"image": {"kernel_arguments": ["net.ifnames=0"]}})
    assert names(change, "replace") == ["image-schematic", "image-pve"]
    assert turns(change) == ["castle-control-plane-1", *WORKERS]


def test_a_fourth_worker(between: Between) -> None:
    change = between({}, {"nodes.workers.count": 4})
    assert sorted(names(change, "update")) == ["cluster-readiness", "longhorn-storage", "record"]
    assert {step.what for step in change.steps} == {"create", "update"}
    assert set(names(change, "create")) == {
        "machines-castle-worker-4",
        "cluster-castle-worker-4",
        "cluster-castle-worker-4-config",
    }
    assert set(away(change).values()) == {0}


def test_from_four_workers_to_two(between: Between) -> None:
    change = between({"nodes.workers.count": 4}, {"nodes.workers.count": 2})
    assert {step.what for step in change.steps} == {"delete", "update"}
    assert sorted(names(change, "update")) == ["cluster-readiness", "longhorn-storage", "record"]
    gone = names(change, "delete")
    for number in (3, 4):
        node, machine = f"cluster-castle-worker-{number}", f"machines-castle-worker-{number}"
        assert gone.index(node) < gone.index(machine)
    nodes = [step for step in change.steps if step.resource.type == resource_types.NODE]
    assert [it.effect.node for it in nodes] == ["castle-worker-4", "castle-worker-3"]
    assert nodes[0].end <= nodes[1].start
    assert "Longhorn moves its replicas away" in nodes[0].effect.says
    assert away(change)["Traefik"] > 0
    assert away(change)["Kubernetes API"] == 0


def test_more_memory_node_by_node(between: Between) -> None:
    change = between({}, {"nodes.workers.memory_mib": 9216})
    assert turns(change) == WORKERS
    assert names(change, "update")[:3] == [f"machines-{node}" for node in WORKERS]
    node = next(step for step in change.steps if step.effect.drains)
    assert "power-cycled (8192 → 9216 MiB memory)" in node.effect.says
    assert away(change)["Kubernetes API"] == 0


def test_on_the_control_planes_own_ports_traefik_stays_while_workers_go(between: Between) -> None:
    host = {"traefik.exposure": "host-network"}
    change = between(host, host | {"nodes.workers.memory_mib": 9216})
    assert away(change)["Traefik"] == 0
    assert away(change)["whoami"] > 0


def test_a_lone_worker_takes_all_along(between: Between) -> None:
    lone = {"nodes.workers.count": 1, "longhorn.replicas": 1}
    change = between(lone, lone | {"nodes.workers.memory_mib": 9216})
    (turn,) = (step for step in change.steps if step.effect.away_s)
    assert away(change)["Traefik"] == turn.effect.seconds
    assert away(change)["Longhorn volumes"] == turn.effect.away_s


def test_a_patch_that_reboots_and_one_that_does_not(between: Between) -> None:
    file = {"machine": {"files": [{"path": "/var/etc/a", "op": "create", "content": "a"}]}}
    reboots = between({}, {"nodes.workers.patches": [file]})
    assert turns(reboots) == WORKERS
    assert names(reboots, "update")[0] == "cluster-castle-worker-1"


def test_a_version_a_patch_and_memory_cost_one_reboot(between: Between) -> None:
    file = {"machine": {"files": [{"path": "/var/etc/a", "op": "create", "content": "a"}]}}
    new = {"nodes.workers.patches": [file], "nodes.workers.memory_mib": 9216}
    change = between({"cluster.talos": "v1.13.0"}, new)
    assert turns(change) == [HA[0], *WORKERS]
    node = next(it for it in change.steps if it.resource.name == "cluster-castle-worker-1")
    for words in ("upgraded from", "given its new machine config", "power-cycled"):
        assert words in node.effect.says


def test_a_patch_that_is_taken_up_at_once(between: Between) -> None:
    change = between({}, {"cluster.ntp": ["192.168.1.1"]})
    assert turns(change) == []
    assert set(names(change, "update")) == {f"cluster-{node}-config" for node in [HA[0], *WORKERS]}
    assert len({step.start for step in change.steps}) == 1
    assert set(away(change).values()) == {0}


def test_a_value_of_a_chart(between: Between) -> None:
    change = between({}, {"traefik.acme.server": "production"})
    assert names(change, "update")[0] == "traefik-release"
    assert turns(change) == []
    assert away(change)["Traefik"] > 0
    assert away(change)["Kubernetes API"] == 0


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
            "the data disk of 43 GiB cannot be removed from castle-worker-1",
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
def test_a_way_that_is_none_is_refused(
    between: Between, old: dict[str, Any], new: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        between(old, new)
    assert words in " ".join(str(refused.value).split())


def test_one_more_host_moves_nothing(between: Between) -> None:
    hosts = ["pve1", "pve2", "pve3"]
    change = between({"proxmox.hosts": hosts}, {"proxmox.hosts": [*hosts, "pve4"]})
    assert (change.steps, change.problems) == ([], [])


def test_a_data_disk_for_who_had_none_is_a_change(between: Between) -> None:
    change = between({}, {"nodes.control_planes.data_disk_gib": 43})
    assert change.problems == []
    assert turns(change) == ["castle-control-plane-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"cluster.name": "keep"},
        {"proxmox.first_vm_id": 8001},
        {"nodes.overrides": {"worker-1": {"vm_id": 8011}, "worker-2": {"vm_id": 8010}}},
    ],
    ids=lambda it: next(iter(it)),
)
def test_no_machine_takes_over_the_vm_id_of_another(
    between: Between, change: dict[str, Any]
) -> None:
    problems = [str(problem) for problem in between({}, change).problems]
    assert any("VM id 8011 is still this castle's castle-worker-" in it for it in problems)


def test_other_vm_ids_are_other_machines(between: Between) -> None:
    change = between({}, {"proxmox.first_vm_id": 8100})
    assert change.problems == []
    assert set(names(change, "replace")) >= {f"machines-{node}" for node in [HA[0], *WORKERS]}
    node = next(it for it in change.steps if it.resource.name == "cluster-castle-worker-1")
    assert "forgets the machine that it was" in node.effect.says


def test_a_refusal_is_printed_and_the_exit_code_is_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stack(tmp_path, "homelab", {"cluster.kubernetes": "v1.34.1"})
    old = str(tmp_path / "Pulumi.homelab.yaml")
    assert command.main(["--from", old]) == 2
    assert "write the newest v1.35.x, run `make up`" in " ".join(capsys.readouterr().err.split())


def test_a_change_is_told_to_people_and_to_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stack(tmp_path, "homelab", {"nodes.workers.count": 4})
    old = str(tmp_path / "Pulumi.homelab.yaml")
    assert command.main(["--from", old]) == 0
    # The title holds the path of the old file, so a long path wraps it anywhere.
    told = " ".join(capsys.readouterr().out.split())
    assert "3 removed" in told
    assert "Downtime to expect" in told
    assert command.main(["--from", old, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {step["what"] for step in document["steps"]} == {"delete", "update"}
    assert {it["service"] for it in document["downtime"]} >= {"Kubernetes API", "Traefik"}


def test_nothing_is_told_as_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--from", "Pulumi.homelab.yaml"]) == 0
    assert "Nothing would change" in capsys.readouterr().out


def test_an_old_file_that_is_none_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--from", "no-such-file.yaml"]) == 2
    assert "FROM = no-such-file.yaml" in capsys.readouterr().err


def test_an_old_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    write_stack(tmp_path, "homelab", {"cluster.vip": "192.168.1.253"})
    old = tmp_path / "Pulumi.homelab.yaml"
    with pytest.raises(SettingsError) as raised:
        rehearse_change("homelab", old)
    assert {it.path for it in raised.value.problems} == {
        f"{old}: nodes.control_planes.first_address"
    }


def notes(change: Change) -> str:
    """What a preview would print, and no note twice."""
    assert len(change.notes) == len(set(change.notes))
    return "\n".join(change.notes)


def says(change: Change, name: str) -> str:
    """What is done with the one resource of this name."""
    (step,) = (step for step in change.steps if step.resource.name == name)
    return step.effect.says


def test_more_copies_for_the_volumes_of_the_stack(between: Between) -> None:
    change = between({}, {"longhorn.replicas": 3})
    assert says(change, "longhorn-storage") == "traefik/traefik-certificates: 2 → 3 copies"
    assert "All other volumes keep their number until `make replicas`" in notes(change)
    assert "deletes" not in notes(change)


def test_fewer_copies_because_there_are_fewer_workers(between: Between) -> None:
    default = {"longhorn.replicas": None}
    change = between(default | {"nodes.workers.count": 2}, default | {"nodes.workers.count": 1})
    assert says(change, "longhorn-storage") == "traefik/traefik-certificates: 2 → 1 copies"
    assert "longhorn.replicas: 2 → 1. " in notes(change)
    assert "Longhorn deletes the surplus copies" in notes(change)


def test_more_copies_because_there_are_more_workers(between: Between) -> None:
    default = {"longhorn.replicas": None}
    change = between(default | {"nodes.workers.count": 1}, default | {"nodes.workers.count": 2})
    assert says(change, "longhorn-storage") == (
        "Longhorn's new disks are checked; traefik/traefik-certificates: 1 → 2 copies"
    )


def test_another_reclaim_policy_is_for_new_volumes(between: Between) -> None:
    change = between({}, {"longhorn.reclaim_policy": "delete"})
    assert names(change, "update") == ["longhorn-release"]
    assert says(change, "longhorn-release") == (
        "is changed in place; new volumes get reclaim policy Delete, existing volumes keep Retain"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("path", "./b"), ("branch", "home"), ("url", "ssh://git@git.tazlab.net/me/other.git")],
)
def test_another_place_for_flux_deletes_what_is_not_there(
    between: Between, key: str, value: str
) -> None:
    told = notes(between(FLUX, deepcopy(FLUX) | {f"flux.{key}": value}))
    assert (
        f"flux.{key}: {FLUX['flux'].get(key, './' if key == 'path' else 'main')} → {value}" in told
    )
    assert "Flux deletes everything that it applied and that is not in the new source" in told
    assert "their volumes and data stay in Longhorn, released" in told


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("delete", "delete", "Longhorn deletes their data (longhorn.reclaim_policy: delete)"),
        ("delete", "retain", "changes from delete to retain, but each volume has the policy"),
        ("retain", "delete", "changes from retain to delete, but each volume has the policy"),
    ],
)
def test_the_data_of_deleted_claims_follows_both_policies(
    between: Between, old: str, new: str, words: str
) -> None:
    first = deepcopy(FLUX) | {"longhorn.reclaim_policy": old}
    second = deepcopy(FLUX) | {"longhorn.reclaim_policy": new, "flux.path": "./b"}
    assert words in notes(between(first, second))


def test_another_interval_deletes_nothing(between: Between) -> None:
    assert notes(between(FLUX, deepcopy(FLUX) | {"flux.interval": "5m"})) == ""


def test_a_note_is_told_to_people_and_to_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stack(tmp_path, "homelab", {"longhorn.replicas": 3})
    old = str(tmp_path / "Pulumi.homelab.yaml")
    assert command.main(["--from", old]) == 0
    assert "Longhorn deletes the surplus copies" in " ".join(capsys.readouterr().out.split())
    assert command.main(["--from", old, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert any("Longhorn deletes the surplus copies" in note for note in document["notes"])


def test_no_tool_is_asked_for(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert between({"cluster.talos": "v1.13.0"}, {}).problems == []


def test_nobody_is_asked_what_would_change(
    between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def record(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, record)
    monkeypatch.setattr(socket, "getaddrinfo", record)
    # In the place of the rehearsal's own guard, which would hide a try from us.
    for module in ("run", "change"):
        monkeypatch.setattr(f"rehearsal.{module}.offline", contextlib.nullcontext)
    between({"cluster.talos": "v1.13.0"}, {"proxmox.first_vm_id": 8100, "nodes.workers.count": 2})
    assert asked == []
