"""Problems of Longhorn's disks, volumes and backups: the messages, and when they appear."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clients.kubernetes.longhorn import read_storage
from lifecycle.operations.storage_health import (
    age,
    data_disks,
    disk_problems,
    storage_problems,
)
from rehearsal.run import rehearse
from settings.backups import VolumeBackup
from settings.models import Settings
from tests.longhorn_objects import GIB, LonghornObjects, healthy_cluster
from tests.rehearsals import write_stack

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
BACKUP = VolumeBackup(target="nfs://192.168.1.5:/backups")
ListProblems = Callable[..., list[str]]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two workers with data disks, on two hosts, with daily backups."""
    folder = tmp_path_factory.mktemp("stack")
    write_stack(folder, "homelab", {"nodes.workers.count": 2, "cluster.name": "castle"})
    found = rehearse("homelab", folder).settings
    longhorn = found.longhorn.model_copy(update={"backup": BACKUP})
    return found.model_copy(update={"longhorn": longhorn})


@pytest.fixture
def list_problems(settings: Settings) -> ListProblems:
    """Returns all problems of a cluster as lines: severity, subject and text."""

    def lines(found: LonghornObjects, used: Settings = settings) -> list[str]:
        storage = read_storage(found)
        assert storage
        problems = list(storage_problems(storage, used, NOW, is_deployed=True))
        assert all(it.fix for it in problems)
        return [f"{it.severity}: {it.subject} {it.text}" for it in problems]

    return lines


def volume(found: LonghornObjects, name: str = "pvc-1") -> dict[str, Any]:
    it = found.get(f"/apis/longhorn.io/v1beta2/namespaces/longhorn-system/volumes/{name}")
    assert it
    return it


def disk(found: LonghornObjects) -> dict[str, Any]:
    nodes = found.items("/apis/longhorn.io/v1beta2/namespaces/longhorn-system/nodes")
    state: dict[str, Any] = nodes[0]["status"]["diskStatus"]["disk-1"]
    return state


def test_a_healthy_cluster_has_no_problem(list_problems: ListProblems) -> None:
    assert list_problems(healthy_cluster()) == []


# Disks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("os_disk_gib", "data_disk_gib"), [(34, 43), (43, 43), (100, 100)])
def test_data_on_the_os_disk_is_a_problem(os_disk_gib: int, data_disk_gib: int) -> None:
    found = healthy_cluster()
    # Talos' own partitions have 1.2 GiB or more.
    disk(found)["storageMaximum"] = int((os_disk_gib - 1.2) * GIB)
    storage = read_storage(found)
    assert storage
    (problem,) = disk_problems(storage.disks[:1], {"castle-worker-1": data_disk_gib})
    assert problem.text.startswith(
        f"stores Longhorn's data on a filesystem of {os_disk_gib - 1.2:.1f} GiB, but its data disk "
        f"has {data_disk_gib} GiB: either /var/mnt/longhorn is not the data disk, so the data is "
        "on the OS disk, or"
    )


def test_the_command_of_a_fix_runs_in_a_shell_and_names_the_address_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = healthy_cluster()
    disk(found)["storageMaximum"] = GIB
    storage = read_storage(found)
    assert storage
    (problem,) = disk_problems(storage.disks[:1], {"castle-worker-1": 43})
    programs = {
        "kubectl": """
            [ "$1 $2 $3 $4" = "get node castle-worker-1 -o" ] || exit 1
            [ "$5" = 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}' ] || exit 1
            echo 192.168.1.155""",
        "talosctl": 'printf "%s\\n" "$*"',
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    command = problem.fix.split("`")[1]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "-n 192.168.1.155 get volumestatus u-longhorn\n"


def test_data_disks_are_read_from_the_settings(settings: Settings) -> None:
    assert data_disks(settings) == {"castle-worker-1": 43, "castle-worker-2": 43}


def test_a_nearly_full_disk_is_a_warning(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    disk(found)["storageAvailable"] = 6 * GIB
    assert list_problems(found) == [
        "warning: castle-worker-1 has a nearly full disk: 6.0 GiB of 42.9 GiB are free; Longhorn "
        "places no new copies on it at 10 % or less"
    ]


def test_an_unschedulable_disk_is_a_warning_with_longhorns_reason(
    list_problems: ListProblems,
) -> None:
    found = healthy_cluster()
    state = disk(found)
    state["storageAvailable"] = 4 * GIB
    state["conditions"][1] |= {"status": "False", "message": "Actual space usage condition failed"}
    assert list_problems(found) == [
        "warning: castle-worker-1 takes no new copies (4.0 GiB of 42.9 GiB are free): Actual space "
        "usage condition failed"
    ]


def test_nodes_that_the_next_up_adds_or_removes_are_no_problem(settings: Settings) -> None:
    found = LonghornObjects()
    found.add_node("castle-worker-1", "pve1")
    found.add_node("castle-worker-3", "pve1")
    storage = read_storage(found)
    assert storage
    expected = {
        is_deployed: [
            it.subject
            for it in storage_problems(storage, settings, NOW, is_deployed=is_deployed)
            if it.subject.startswith("castle-worker")
        ]
        for is_deployed in (True, False)
    }
    assert expected == {True: ["castle-worker-2", "castle-worker-3"], False: []}


# Copies -------------------------------------------------------------------------------------------


def test_all_copies_on_one_host_are_a_warning(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    found.add_node("castle-worker-3", "pve1")
    found.add_volume("pvc-2", "db/data", ("castle-worker-1", "castle-worker-3"))
    found.add_volume("pvc-3", "db/cache", ("castle-worker-1",))
    expected = [it for it in list_problems(found) if "Proxmox host" in it]
    assert expected == [
        "warning: db/data has all of its 2 copies on the Proxmox host pve1: if that host fails, "
        "the volume is gone"
    ]


def test_all_copies_on_one_host_are_no_problem_if_the_stack_has_one_host(
    list_problems: ListProblems,
) -> None:
    found = LonghornObjects()
    for name in ("castle-worker-1", "castle-worker-2"):
        found.add_node(name, "pve")
    found.add_volume("pvc-1", "db/data", ("castle-worker-1", "castle-worker-2"))
    assert not [it for it in list_problems(found) if "db/data has" in it]


def test_a_missing_copy_is_a_warning_for_attached_volumes_only(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    volume(found)["spec"]["numberOfReplicas"] = 3
    expected = "warning: traefik/traefik-certificates has 2 healthy copies of 3"
    assert expected in list_problems(found)
    volume(found)["status"] |= {"state": "detached", "robustness": "unknown"}
    assert expected not in list_problems(found)


def test_a_faulted_volume_is_a_warning_even_if_detached(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    volume(found)["status"] |= {"state": "detached", "robustness": "faulted"}
    assert list_problems(found) == [
        "warning: traefik/traefik-certificates has no healthy copy: pods cannot use it"
    ]


def test_another_number_of_copies_is_a_note_for_the_storage_class_longhorn(
    list_problems: ListProblems, settings: Settings
) -> None:
    found = healthy_cluster()
    found.add_volume("pvc-2", "db/data", ("castle-worker-1",))["status"]["lastBackupAt"] = (
        "2026-11-27T03:00:00Z"
    )
    assert settings.replicas == 2
    expected = "note: 1 volume has another number of copies than the stack's 2: db/data (1)"
    assert expected in list_problems(found)
    found.items("/api/v1/persistentvolumes")[1]["spec"]["storageClassName"] = "one-copy"
    assert expected not in list_problems(found)


# Engines ------------------------------------------------------------------------------------------


def test_an_old_engine_is_a_warning(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    volume(found)["status"]["currentImage"] = "longhornio/longhorn-engine:v1.11.2"
    assert list_problems(found) == [
        "warning: 1 volume runs with an old engine (longhornio/longhorn-engine:v1.11.2): "
        "traefik/traefik-certificates"
    ]


# Backups ------------------------------------------------------------------------------------------


def target(found: LonghornObjects) -> dict[str, Any]:
    it = found.get("/apis/longhorn.io/v1beta2/namespaces/longhorn-system/backuptargets/default")
    assert it
    return it


def test_an_unavailable_backup_target_is_a_warning_with_longhorns_reason(
    list_problems: ListProblems,
) -> None:
    found = healthy_cluster()
    target(found)["status"] = {
        "available": False,
        "conditions": [
            {"type": "Unavailable", "status": "True", "message": "mount.nfs4: access denied"}
        ],
    }
    assert list_problems(found) == [
        "warning: backup target nfs://192.168.1.5:/backups is not available: mount.nfs4: access "
        "denied"
    ]


def test_a_missing_backup_target_is_a_warning(
    list_problems: ListProblems, settings: Settings
) -> None:
    found = healthy_cluster()
    target(found)["spec"]["backupTargetURL"] = ""
    assert list_problems(found) == [
        "warning: backup target is not set in Longhorn, although longhorn.backup.target is "
        "nfs://192.168.1.5:/backups"
    ]
    longhorn = settings.longhorn.model_copy(update={"backup": None})
    assert list_problems(found, settings.model_copy(update={"longhorn": longhorn})) == []


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("2026-11-25T13:00:00Z", []),
        (
            "2026-11-24T12:00:00Z",
            [
                "warning: 1 volume has no backup of the last 2 days, which is twice the longest "
                "time between two runs of longhorn.backup.schedule: traefik/traefik-certificates "
                "(last one 3 days ago)"
            ],
        ),
        (
            "",
            [
                "warning: 1 volume has no backup, and more than 2 days have passed since Longhorn "
                "created it: traefik/traefik-certificates"
            ],
        ),
    ],
)
def test_a_backup_is_late_after_two_periods_of_the_schedule(
    list_problems: ListProblems, last: str, expected: list[str]
) -> None:
    found = healthy_cluster()
    volume(found)["status"]["lastBackupAt"] = last
    assert list_problems(found) == expected


def test_with_a_weekly_schedule_a_backup_is_late_after_two_weeks(
    list_problems: ListProblems, settings: Settings
) -> None:
    found = healthy_cluster()
    volume(found)["status"]["lastBackupAt"] = "2026-11-15T03:00:00Z"
    weekly = BACKUP.model_copy(update={"schedule": "0 3 * * 0"})
    longhorn = settings.longhorn.model_copy(update={"backup": weekly})
    assert list_problems(found, settings.model_copy(update={"longhorn": longhorn})) == []


@pytest.mark.parametrize("change", ["new", "released"])
def test_new_and_released_volumes_need_no_backup(list_problems: ListProblems, change: str) -> None:
    found = healthy_cluster()
    it = volume(found)
    it["status"]["lastBackupAt"] = ""
    if change == "new":
        it["metadata"]["creationTimestamp"] = "2026-11-27T11:00:00Z"
    else:
        it["status"]["kubernetesStatus"]["pvStatus"] = "Released"
    assert [line for line in list_problems(found) if "backup" in line] == []


def test_a_detached_volume_needs_a_backup(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    volume(found)["status"] |= {
        "state": "detached",
        "robustness": "unknown",
        "lastBackupAt": "",
    }
    assert [line for line in list_problems(found) if "has no backup" in line]


def test_backups_of_volumes_of_another_cluster_are_one_note(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    for name in ("pvc-8", "pvc-9"):
        found.add(
            "backupvolumes",
            f"{name}-abc",
            spec={"volumeName": name},
            status={"dataStored": str(3 * GIB)},
        )
    assert list_problems(found) == [
        "note: backup target holds backups of 2 volumes that this cluster does not have (6.0 GiB): "
        "of a former cluster, of another stack with the same target, or of volumes that were "
        "deleted"
    ]


@pytest.mark.parametrize(
    "status",
    [
        {"pvName": "pvc-1", "pvStatus": "Released"},
        # Somebody has deleted the persistent volume already.
        {"pvName": "", "pvStatus": "", "lastPVCRefAt": "2026-11-20T00:00:00Z"},
    ],
)
def test_released_volumes_are_one_note(list_problems: ListProblems, status: dict[str, str]) -> None:
    found = healthy_cluster()
    volume(found)["status"]["kubernetesStatus"] |= status
    assert list_problems(found) == [
        "note: 1 released volume (1.0 GiB) has no claim any more, and Longhorn keeps the data: "
        "pvc-1 (traefik/traefik-certificates)"
    ]


def test_a_long_list_of_volumes_is_shortened(list_problems: ListProblems) -> None:
    found = healthy_cluster()
    for number in range(7):
        it = found.add_volume(
            f"pvc-x{number}", f"a/{number}", ("castle-worker-1", "castle-worker-2")
        )
        it["status"] |= {"currentImage": "old:1", "lastBackupAt": "2026-11-27T03:00:00Z"}
    assert list_problems(found) == [
        "warning: 7 volumes run with an old engine (old:1): a/0, a/1, a/2, a/3, a/4 and 2 more"
    ]


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=5, minutes=59), "5 hours"),
        (timedelta(hours=48), "2 days"),
    ],
)
def test_an_age_has_one_unit(span: timedelta, text: str) -> None:
    assert age(span) == text
