"""What becomes of volumes if a host, a backup target, an engine or a claim goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clients.kubernetes.longhorn import PATH, Volume, read_volumes
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, CHARTS, Lab, missing, without
from tests.e2e.test_life import assert_no_diff, assert_up
from tests.e2e.test_storage import CLAIMS, LIBRARY, TRAEFIK, add_claim, api_of
from tests.e2e.watch import Kubernetes, diary, order, wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
changes = pytest.mark.skipif(bool(without(CHANGES)), reason=without(CHANGES))

PODS = "/api/v1/namespaces/traefik/pods"


def volume_of(lab: Lab, claim: str) -> Volume:
    (found,) = [it for it in read_volumes(api_of(lab)) if it.claim == claim]
    return found


def storage_lines(lab: Lab) -> list[str]:
    """What the doctor says of storage, a line each."""
    findings = json.loads(lab.doctor().output)["findings"]
    return [
        f"{it['result']}: {it['subject']} {it['text']}"
        for it in findings
        if it["group"] == "Storage"
    ]


def running(kubernetes: Kubernetes) -> list[str]:
    """The nodes on which a pod of Traefik runs and is not about to go."""
    pods = kubernetes.call("GET", PODS)["items"]
    return [
        pod["spec"]["nodeName"]
        for pod in pods
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]


def test_traefik_leaves_a_host_that_is_switched_off(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    order(lab, toleration_s=5)
    assert_up(lab)
    kubernetes = Kubernetes(lab)
    zones = {
        name: node["metadata"]["labels"]["topology.kubernetes.io/zone"]
        for name, node in kubernetes.nodes().items()
    }
    assert zones == {
        "castle-control-plane-1": "pve1",
        "castle-worker-1": "pve2",
        "castle-worker-2": "pve1",
        "castle-worker-3": "pve2",
    }
    # Copies are on both hosts, so that each can be lost.
    assert set(volume_of(lab, TRAEFIK).zones) == {"pve1", "pve2"}
    # pve2 is the one without the control plane: Traefik has to be there before it is switched off.
    kubernetes.call("PATCH", "/api/v1/nodes/castle-worker-2", {"spec": {"unschedulable": True}})
    for pod in kubernetes.call("GET", PODS)["items"]:
        kubernetes.call("DELETE", f"{PODS}/{pod['metadata']['name']}")
    wait_until(lambda: bool(running(kubernetes)) and zones[running(kubernetes)[0]] == "pve2")
    kubernetes.call("PATCH", "/api/v1/nodes/castle-worker-2", {"spec": {"unschedulable": None}})
    for vm_id, guest in lab.guests().items():
        if guest["node"] == "pve2":
            lab.proxmox("POST", f"/nodes/pve2/qemu/{vm_id}/status/stop", timeout=1)
    # Seconds until the pod leaves: 5 to be noticed, 10 between two nodes that are tainted, 5 that
    # it tolerates that (300 on a real cluster), and the 60 that Traefik's pod has to end.
    wait_until(lambda: running(kubernetes) == ["castle-worker-2"], 240)
    assert "lost" not in [what for _, what, _ in diary(lab)]
    # The host comes back: nothing is left to do for a person.
    for vm_id, guest in lab.guests().items():
        if guest["node"] == "pve2":
            lab.proxmox("POST", f"/nodes/pve2/qemu/{vm_id}/status/start", timeout=1)
    wait_until(lambda: len(volume_of(lab, TRAEFIK).healthy_nodes) == 2)
    assert set(volume_of(lab, TRAEFIK).zones) == {"pve1", "pve2"}
    assert_no_diff(lab)


def test_backups_of_all_volumes_and_what_the_doctor_says_of_them(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    lab.set("longhorn.backup", {"target": "nfs://192.168.1.5:/backups"})
    assert_up(lab)
    add_claim(api_of(lab))
    wait_until(lambda: LIBRARY in {it.claim for it in read_volumes(api_of(lab))})
    assert not volume_of(lab, LIBRARY).is_attached
    order(lab, due_jobs=["backup"])
    wait_until(lambda: volume_of(lab, LIBRARY).last_backup is not None)
    wait_until(lambda: volume_of(lab, TRAEFIK).last_backup is not None)
    assert "not backed up" not in [what for _, what, _ in diary(lab)]

    order(lab, backup_target_error="mount failed: access denied", foreign_backup_volumes=["pvc-9"])
    wait_until(lambda: any("access denied" in line for line in storage_lines(lab)))
    lines = storage_lines(lab)
    assert [line for line in lines if "192.168.1.5:/backups is not available" in line]
    order(lab, backup_target_error="")
    wait_until(lambda: any("holds backups of 1 volume" in line for line in storage_lines(lab)))
    assert not [line for line in storage_lines(lab) if "no backup" in line]


def _upgraded_chart(folder: Path) -> Path:
    """The charts in a folder of their own, with a newer patch of Longhorn."""
    shutil.copytree(CHARTS, folder, symlinks=False)
    for file in (folder / "longhorn").rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace("1.12.1", "1.12.2"), encoding="utf-8")
    return folder


@changes
def test_volumes_follow_an_upgrade_of_longhorn(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("pve1")
    assert_up(lab)
    before = volume_of(lab, TRAEFIK).engine_image
    lab.set("longhorn.chart_repository", str(_upgraded_chart(tmp_path / "charts")))
    lab.set("longhorn.chart_version", "1.12.2")
    assert sorted(name for _, name in lab.preview().steps) == [
        "longhorn-release",
        "longhorn-storage",
        "record",
    ]
    done = lab.up()
    assert (done.code, done.changes) == (0, {"updated": 3}), done.output
    # Longhorn moves the volumes by itself, some time after the release.
    wait_until(lambda: volume_of(lab, TRAEFIK).engine_image != before)
    after = volume_of(lab, TRAEFIK).engine_image
    assert (before != after, "1.12.2" in after) == (True, True)
    assert_no_diff(lab)
    # Longhorn never goes back to an older version.
    lab.set("longhorn.chart_version", "1.12.1")
    refused = lab.preview()
    assert refused.code != 0 and "longhorn.chart_version" in refused.output


def test_a_deleted_claim_keeps_its_data_unless_the_owner_decides_otherwise(
    make_lab: MakeLab,
) -> None:
    lab = make_lab("pve1")
    assert_up(lab)
    api = api_of(lab)
    add_claim(api)
    wait_until(lambda: LIBRARY in {it.claim for it in read_volumes(api)})
    api.delete(f"{CLAIMS}/library")
    wait_until(lambda: [it.claim for it in read_volumes(api) if it.is_released] == [LIBRARY])
    assert [line for line in storage_lines(lab) if "1 released volume" in line]

    lab.set("longhorn.reclaim_policy", "delete")
    done = lab.up()
    assert (done.code, done.changes) == (0, {"updated": 1}), done.output
    wait_until(lambda: _reclaim_policy(api) == "Delete")
    add_claim(api)
    wait_until(lambda: len(api.items(f"{PATH}/volumes")) == 3)
    api.delete(f"{CLAIMS}/library")
    # The volume of before keeps its own policy, and stays.
    wait_until(lambda: len(api.items(f"{PATH}/volumes")) == 2)
    assert [it.claim for it in read_volumes(api) if it.is_released] == [LIBRARY]
    assert_no_diff(lab)


def _reclaim_policy(api: Any) -> str | None:
    found = api.get("/apis/storage.k8s.io/v1/storageclasses/longhorn")
    return found["reclaimPolicy"] if found else None
