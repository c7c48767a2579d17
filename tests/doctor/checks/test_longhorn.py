"""The doctor's storage checks, with and without a running cluster."""

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

from clients.kubernetes.api import ClusterApi, KubernetesError
from clients.kubernetes.longhorn import PATH, Storage, read_storage
from doctor import __main__ as command
from doctor import storage_record
from doctor.all_checks import collect_findings
from doctor.checks.longhorn import read_once
from doctor.context import Context
from doctor.findings import Finding, Result
from doctor.probes import Probes
from doctor.proxmox import Proxmox
from tests.doctor.homelab import FakeHomelab
from tests.doctor.test_command import cli, write
from tests.longhorn_objects import LonghornObjects, healthy_cluster

TARGET = "nfs://nas.home.arpa:/backups"


@pytest.fixture
def longhorn(homelab: FakeHomelab) -> LonghornObjects:
    """Longhorn's objects of a healthy cluster; its volumes were backed up one hour ago."""
    homelab.set("longhorn.backup", {"target": TARGET})
    homelab.set("nodes.workers.count", 2)
    homelab.deploy()
    found = healthy_cluster()
    names = [it.name for it in homelab.settings.machines if it.data_disk_gib]
    for node, name in zip(found.items(f"{PATH}/nodes"), names, strict=True):
        node["metadata"]["name"] = name
    for replica, name in zip(found.items(f"{PATH}/replicas"), names, strict=True):
        replica["spec"]["nodeID"] = name
    hour_ago = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    found.items(f"{PATH}/volumes")[0]["status"]["lastBackupAt"] = hour_ago
    found.items(f"{PATH}/backuptargets")[0]["spec"]["backupTargetURL"] = TARGET
    return found


async def storage_findings(
    homelab: FakeHomelab, read: Callable[[], Storage | None], **probes: Any
) -> dict[str, list[Finding]]:
    """The findings of the group Storage and of the check ``backups``, by check."""
    found = dataclasses.replace(homelab.probes(), **probes)
    settings = homelab.settings
    context = Context(
        settings=settings,
        advice=(),
        probes=found,
        proxmox=Proxmox(found.proxmox, settings.stack_tag),
        storage=read_once(read),
    )
    checks = await asyncio.to_thread(collect_findings, context)
    return {
        it.check: list(it.findings)
        for it in checks
        if it.group == "Storage" or it.check == "backups"
    }


def lines(found: dict[str, list[Finding]]) -> dict[str, list[str]]:
    return {
        check: [f"{it.result}: {it.subject} {it.text}" for it in findings]
        for check, findings in found.items()
        if check != "backups"
    }


async def test_healthy_storage_has_five_ok_findings(
    homelab: FakeHomelab, longhorn: LonghornObjects
) -> None:
    assert lines(await storage_findings(homelab, lambda: read_storage(longhorn))) == {
        "cluster": [],
        "data disks": ["ok: data disks hold Longhorn's data on 2 nodes: 80 GiB of 86 GiB are free"],
        "copies": ["ok: volumes have all their copies: 1 volume"],
        "engines": [
            "ok: engines are those of the installed Longhorn (longhornio/longhorn-engine:v1.12.1)"
        ],
        "backup target": [f"ok: {TARGET} is available to Longhorn"],
        "volume backups": ["ok: backups are as recent as the schedule requires"],
    }


async def test_nodes_and_disk_sizes_that_the_next_up_changes_are_not_checked(
    homelab: FakeHomelab, longhorn: LonghornObjects
) -> None:
    homelab.set("nodes.workers.count", 3)
    found = await storage_findings(homelab, lambda: read_storage(longhorn))
    assert [it.result for it in found["data disks"]] == [Result.OK]
    homelab.set("longhorn.replicas", 1)
    homelab.set("nodes.workers.count", 1)
    found = await storage_findings(homelab, lambda: read_storage(longhorn))
    assert [it.result for it in found["data disks"]] == [Result.OK]
    homelab.set("nodes.workers.data_disk_gib", 86)
    found = await storage_findings(homelab, lambda: read_storage(longhorn))
    assert [it.result for it in found["data disks"]] == [Result.OK]


async def test_storage_problems_are_warnings_or_notes_but_no_failures(
    homelab: FakeHomelab, longhorn: LonghornObjects
) -> None:
    volume = longhorn.items(f"{PATH}/volumes")[0]
    volume["status"] |= {"currentImage": "old:1", "lastBackupAt": "", "robustness": "degraded"}
    volume["spec"]["numberOfReplicas"] = 3
    node = longhorn.items(f"{PATH}/nodes")[0]
    node["spec"]["disks"]["disk-1"]["path"] = "/var/lib/longhorn"
    longhorn.items(f"{PATH}/backuptargets")[0]["status"] = {"available": False}
    longhorn.add("backupvolumes", "old", spec={"volumeName": "pvc-old"}, status={})
    found = await storage_findings(homelab, lambda: read_storage(longhorn))
    results = {check: [it.result for it in findings] for check, findings in found.items()}
    assert results == {
        "cluster": [],
        "data disks": [Result.WARNING],
        "copies": [Result.WARNING, Result.NOTE],
        "engines": [Result.WARNING],
        "backup target": [Result.WARNING],
        "backups": [Result.NOTE],  # The site certificates have no backup.
        "volume backups": [Result.WARNING, Result.NOTE],
    }
    (disk,) = found["data disks"]
    assert "stores Longhorn's data at /var/lib/longhorn, which is on its OS disk" in disk.text
    assert "request the eviction" in disk.fix


async def test_a_note_does_not_replace_the_ok_finding(
    homelab: FakeHomelab, longhorn: LonghornObjects
) -> None:
    longhorn.add("backupvolumes", "old", spec={"volumeName": "pvc-old"}, status={})
    found = await storage_findings(homelab, lambda: read_storage(longhorn))
    assert [it.result for it in found["volume backups"]] == [Result.OK, Result.NOTE]


async def test_without_a_cluster_there_is_one_note(homelab: FakeHomelab) -> None:
    found = lines(await storage_findings(homelab, lambda: None))
    assert found.pop("cluster") == [
        "note: storage is not checked: this stack has no cluster with Longhorn yet"
    ]
    assert not any(found.values())


async def test_a_cluster_that_does_not_answer_is_one_warning_and_read_once(
    homelab: FakeHomelab,
) -> None:
    reads: list[None] = []

    def read() -> Storage | None:
        reads.append(None)
        raise KubernetesError("GET /", "https://192.168.1.250:6443", "no answer in time")

    found = lines(await storage_findings(homelab, read))
    assert found.pop("cluster") == [
        "warning: storage is not checked: the Kubernetes API at https://192.168.1.250:6443 does "
        "not answer: no answer in time"
    ]
    assert not any(found.values())
    assert len(reads) == 1


@pytest.mark.parametrize("answers", [True, False])
async def test_the_nfs_port_is_probed_only_if_longhorn_cannot_be_read(
    homelab: FakeHomelab, longhorn: LonghornObjects, answers: bool
) -> None:
    connections: list[tuple[str, int]] = []

    def read() -> Storage | None:
        if answers:
            return read_storage(longhorn)
        raise KubernetesError("GET /", "https://192.168.1.250:6443", "no answer in time")

    def connect(host: str, port: int) -> None:
        connections.append((host, port))

    found = await storage_findings(homelab, read, connect=connect)
    assert (("nas.home.arpa", 2049) in connections) is not answers
    assert (TARGET in [it.subject for it in found["backups"]]) is not answers


def test_read_once_reads_once_for_several_threads() -> None:
    barrier = threading.Barrier(4)
    reads: list[None] = []

    def read() -> Storage:
        reads.append(None)
        return Storage()

    once = read_once(read)

    def call() -> None:
        barrier.wait()
        once()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1


async def test_the_command_decrypts_the_kubeconfig_and_writes_the_record(
    homelab: FakeHomelab,
    longhorn: LonghornObjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(Probes, "of", lambda settings, cli: homelab.probes())
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", homelab.rack.api_token)
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)
    monkeypatch.setattr(ClusterApi, "of", lambda kubeconfig: longhorn)
    write(tmp_path, homelab, token=None)
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
