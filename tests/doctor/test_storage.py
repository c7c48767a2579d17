"""What the doctor says of the storage of a running cluster, and if there is none to be read."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clients.kubernetes.api import ApiError, ClusterApi
from clients.kubernetes.longhorn import PATH, Storage, read_storage
from doctor import __main__ as command
from doctor import storage_record
from doctor.context import Context
from doctor.examine import examine
from doctor.findings import Finding, Result
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from doctor.storage import read_once
from tests.doctor.house import FakeHomelab
from tests.doctor.test_command import cli, write
from tests.longhorn_objects import LonghornObjects, healthy_cluster

TARGET = "nfs://nas.home.arpa:/backups"


@pytest.fixture
def longhorn(house: FakeHomelab) -> LonghornObjects:
    """A healthy cluster with the nodes of the house, backed up an hour ago."""
    house.set("longhorn.backup", {"target": TARGET})
    house.set("nodes.workers.count", 2)
    house.build()
    found = healthy_cluster()
    names = [it.name for it in house.settings.machines if it.data_disk_gib]
    for node, name in zip(found.items(f"{PATH}/nodes"), names, strict=True):
        node["metadata"]["name"] = name
    for replica, name in zip(found.items(f"{PATH}/replicas"), names, strict=True):
        replica["spec"]["nodeID"] = name
    hour_ago = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    found.items(f"{PATH}/volumes")[0]["status"]["lastBackupAt"] = hour_ago
    found.items(f"{PATH}/backuptargets")[0]["spec"]["backupTargetURL"] = TARGET
    return found


async def look(
    house: FakeHomelab, read: Callable[[], Storage | None], **probes: Any
) -> dict[str, list[Finding]]:
    """The findings of the group, and those of the check of backups, by check."""
    found = dataclasses.replace(house.probes(), **probes)
    settings = house.settings
    context = Context(
        settings=settings,
        advice=(),
        probes=found,
        proxmox=Proxmox(found.proxmox, settings.stack_tag),
        storage=read_once(read),
    )
    examined = await asyncio.to_thread(examine, context)
    return {
        it.check: list(it.findings)
        for it in examined
        if it.group == "Storage" or it.check == "backups"
    }


def lines(found: dict[str, list[Finding]]) -> dict[str, list[str]]:
    return {
        check: [f"{it.result}: {it.subject} {it.text}" for it in findings]
        for check, findings in found.items()
        if check != "backups"
    }


async def test_healthy_storage_is_five_good_lines(
    house: FakeHomelab, longhorn: LonghornObjects
) -> None:
    assert lines(await look(house, lambda: read_storage(longhorn))) == {
        "cluster": [],
        "data disks": ["ok: data disks hold Longhorn's data on 2 nodes: 80 GiB of 86 GiB are free"],
        "copies": ["ok: volumes have all of their copies: 1 volume"],
        "engines": [
            "ok: engines are those of the installed Longhorn (longhornio/longhorn-engine:v1.12.1)"
        ],
        "backup target": [f"ok: {TARGET} is available to Longhorn"],
        "volume backups": ["ok: backups are as recent as the schedule asks for"],
    }


async def test_a_node_or_a_size_that_the_next_up_makes_is_no_problem(
    house: FakeHomelab, longhorn: LonghornObjects
) -> None:
    house.set("nodes.workers.count", 3)
    found = await look(house, lambda: read_storage(longhorn))
    assert [it.result for it in found["data disks"]] == [Result.OK]
    house.set("longhorn.replicas", 1)
    house.set("nodes.workers.count", 1)
    found = await look(house, lambda: read_storage(longhorn))
    assert [it.result for it in found["data disks"]] == [Result.OK]
    house.set("nodes.workers.data_disk_gib", 86)
    found = await look(house, lambda: read_storage(longhorn))
    assert [it.result for it in found["data disks"]] == [Result.OK]


async def test_every_problem_is_a_warning_or_a_note_and_no_failure(
    house: FakeHomelab, longhorn: LonghornObjects
) -> None:
    volume = longhorn.items(f"{PATH}/volumes")[0]
    volume["status"] |= {"currentImage": "old:1", "lastBackupAt": "", "robustness": "degraded"}
    volume["spec"]["numberOfReplicas"] = 3
    node = longhorn.items(f"{PATH}/nodes")[0]
    node["spec"]["disks"]["disk-1"]["path"] = "/var/lib/longhorn"
    longhorn.items(f"{PATH}/backuptargets")[0]["status"] = {"available": False}
    longhorn.add("backupvolumes", "old", spec={"volumeName": "pvc-old"}, status={})
    found = await look(house, lambda: read_storage(longhorn))
    results = {check: [it.result for it in findings] for check, findings in found.items()}
    assert results == {
        "cluster": [],
        "data disks": [Result.WARNING],
        "copies": [Result.WARNING, Result.NOTE],
        "engines": [Result.WARNING],
        "backup target": [Result.WARNING],
        "backups": [Result.NOTE],  # of the certificates
        "volume backups": [Result.WARNING, Result.NOTE],
    }
    (disk,) = found["data disks"]
    assert "stores Longhorn's data at /var/lib/longhorn, which is on its OS disk" in disk.text
    assert "request the eviction" in disk.fix


async def test_a_note_alone_leaves_the_good_line(
    house: FakeHomelab, longhorn: LonghornObjects
) -> None:
    longhorn.add("backupvolumes", "old", spec={"volumeName": "pvc-old"}, status={})
    found = await look(house, lambda: read_storage(longhorn))
    assert [it.result for it in found["volume backups"]] == [Result.OK, Result.NOTE]


async def test_a_stack_without_a_cluster_is_one_note(house: FakeHomelab) -> None:
    found = lines(await look(house, lambda: None))
    assert found.pop("cluster") == [
        "note: storage is not checked: this stack has no cluster with Longhorn yet"
    ]
    assert not any(found.values())


async def test_a_cluster_that_does_not_answer_is_one_warning_and_asked_once(
    house: FakeHomelab,
) -> None:
    asked: list[None] = []

    def read() -> Storage | None:
        asked.append(None)
        raise ApiError("the Kubernetes API at https://192.168.1.250:6443 does not answer")

    found = lines(await look(house, read))
    assert found.pop("cluster") == [
        "warning: storage is not checked: the Kubernetes API at https://192.168.1.250:6443 does "
        "not answer"
    ]
    assert not any(found.values())
    assert len(asked) == 1


@pytest.mark.parametrize("answers", [True, False])
async def test_the_port_of_the_share_is_tried_only_if_longhorn_cannot_be_asked(
    house: FakeHomelab, longhorn: LonghornObjects, answers: bool
) -> None:
    asked: list[tuple[str, int]] = []

    def read() -> Storage | None:
        if answers:
            return read_storage(longhorn)
        raise ApiError("it does not answer")

    def connect(host: str, port: int) -> None:
        asked.append((host, port))

    found = await look(house, read, connect=connect)
    assert (("nas.home.arpa", 2049) in asked) is not answers
    assert (TARGET in [it.subject for it in found["backups"]]) is not answers


def test_many_threads_read_once() -> None:
    barrier = threading.Barrier(4)
    asked: list[None] = []

    def read() -> Storage:
        asked.append(None)
        return Storage()

    once = read_once(read)

    def ask() -> None:
        barrier.wait()
        once()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1


async def test_the_command_opens_the_kubeconfig_and_renews_the_record(
    house: FakeHomelab,
    longhorn: LonghornObjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(Probes, "of", lambda settings, cli: house.probes())
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", house.rack.api_token)
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)
    monkeypatch.setattr(ClusterApi, "of", lambda kubeconfig: longhorn)
    write(tmp_path, house, token=None)
    stack = {"type": "pulumi:pulumi:Stack", "outputs": {"kubeconfig": {"ciphertext": "v1:abc"}}}
    state = json.dumps({"deployment": {"resources": [stack]}})
    cli(
        tmp_path,
        monkeypatch,
        f"print({state!r} if sys.argv[2] == 'export' else 'the admin key of the cluster')",
    )
    assert await asyncio.to_thread(command.main, ["--stack", "homelab"]) == 0
    out, err = capsys.readouterr()
    assert f"ok       {TARGET} is available to Longhorn" in out
    assert "admin key" not in out + err
    record = storage_record.load(tmp_path, "homelab")
    assert record and record.storage.target and record.storage.target.url == TARGET
