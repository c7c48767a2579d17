"""Longhorn's disks and the copies of its volumes on a simulated rack."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from clients.kubernetes.api import ClusterApi
from clients.kubernetes.longhorn import PATH
from commands import helm_records
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, CHARTS, Lab, missing, without
from tests.e2e.test_life import assert_no_diff, assert_up
from tests.e2e.watch import wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
changes = pytest.mark.skipif(bool(without(CHANGES)), reason=without(CHANGES))

TRAEFIK, LIBRARY = "traefik/traefik-certificates", "default/library"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def api_of(lab: Lab) -> ClusterApi:
    """The cluster, also after an ``up`` that failed and wrote no outputs."""
    state = json.loads(lab.opened("stack", "export", "--show-secrets"))
    api = helm_records.api_of(state["deployment"]["resources"])
    assert api is not None
    return api


def add_claim(api: ClusterApi) -> None:
    """A claim that somebody makes by hand."""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "library"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "longhorn",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    api.post(CLAIMS, body)


def copies(api: ClusterApi) -> dict[str, tuple[int, int]]:
    """By claim: how many copies a volume wants, and how many healthy ones it has."""
    healthy = [it["spec"]["volumeName"] for it in api.items(f"{PATH}/replicas") if _is_healthy(it)]
    found = {}
    for volume in api.items(f"{PATH}/volumes"):
        used = volume.get("status", {}).get("kubernetesStatus") or {}
        wanted = int(volume["spec"]["numberOfReplicas"])
        found[f"{used.get('namespace')}/{used.get('pvcName')}"] = (
            wanted,
            healthy.count(volume["metadata"]["name"]),
        )
    return found


def _is_healthy(replica: dict[str, Any]) -> bool:
    return bool(replica["spec"].get("healthyAt")) and not replica["spec"].get("failedAt")


def disk_message(api: ClusterApi, node: str) -> str:
    """What Longhorn says of a node's one disk."""
    (status,) = (api.get(f"{PATH}/nodes/{node}") or {})["status"]["diskStatus"].values()
    return " ".join(str(it.get("message")) for it in status["conditions"])


def test_a_data_disk_that_is_not_mounted_stops_an_up_before_anything_is_stored(
    make_lab: MakeLab,
) -> None:
    lab = make_lab("pve1")
    program = lab.program / "components" / "talos" / "machine_config.py"
    right = program.read_text(encoding="utf-8")
    # A machine whose configuration lacks the user volume: its data path lies on the OS disk.
    condition = 'if node.name == "castle-worker-2":\n            return documents\n        '
    wrong = right.replace("documents.append(", f"{condition}documents.append(", 1)
    assert wrong != right
    program.write_text(wrong, encoding="utf-8")
    stopped = lab.up()
    assert stopped.code != 0
    told = " ".join(stopped.output.split())
    assert "castle-worker-2 stores Longhorn's data on a filesystem of" in told
    assert "but its data disk has 43 GiB" in told
    assert "castle-worker-1 stores" not in told
    assert "This stack has stored nothing in Longhorn yet" in told
    assert "traefik-namespace" not in [name for _, name in _resources(lab)]
    api = api_of(lab)
    assert copies(api) == {}
    program.write_text(right, encoding="utf-8")
    # Longhorn knows the disk by a file on the OS disk: it stays wrong until a person deletes it.
    process = lab.up_until("longhorn-storage creating")
    wait_until(lambda: "doesn't match" in disk_message(api, "castle-worker-2"))
    (disk,) = (api.get(f"{PATH}/nodes/castle-worker-2") or {})["spec"]["disks"]
    api.merge(f"{PATH}/nodes/castle-worker-2", {"spec": {"disks": {disk: None}}})
    done = lab.finish(process)
    assert done.code == 0, done.output
    assert copies(api)[TRAEFIK] == (2, 2)
    assert_no_diff(lab)
    assert_a_leap_of_longhorn_is_refused(lab)


def assert_a_leap_of_longhorn_is_refused(lab: Lab) -> None:
    """The release's own hook refuses it in the preview, with a program that knows that version."""
    program = lab.program / "settings" / "compatibility.py"
    text = program.read_text(encoding="utf-8")
    assert "(1, 13, 0)" in text
    program.write_text(text.replace("(1, 13, 0)", "(1, 15, 0)"), encoding="utf-8")
    # The provider takes the version of a chart in a folder from the chart.
    charts = lab.folder / "charts"
    shutil.copytree(CHARTS / "longhorn", charts / "longhorn")
    chart = charts / "longhorn" / "Chart.yaml"
    chart.write_text(chart.read_text(encoding="utf-8").replace("1.12.1", "1.14.0"), "utf-8")
    lab.set("longhorn.chart_repository", str(charts))
    lab.set("longhorn.chart_version", "1.14.0")
    refused = lab.preview()
    assert refused.code != 0
    told = " ".join(refused.output.split())
    assert "the cluster runs Longhorn 1.12.1, and an upgrade to 1.14.0 skips a minor" in told
    assert "nothing has been touched" in told


def _resources(lab: Lab) -> list[tuple[str, str]]:
    resources = json.loads(lab.state())["deployment"]["resources"]
    return [(it["type"], it["urn"].rpartition("::")[2]) for it in resources]


@changes
def test_copies_follow_the_settings_and_other_volumes_wait_for_make_replicas(
    make_lab: MakeLab,
) -> None:
    lab = make_lab("pve1", "pve2")
    assert_up(lab)
    api = api_of(lab)
    add_claim(api)
    wait_until(lambda: LIBRARY in copies(api))
    assert copies(api)[TRAEFIK] == (2, 2)

    lab.set("longhorn.replicas", 3)
    planned = lab.preview()
    updated = ("longhorn-release", "longhorn-storage", "record")
    assert planned.steps == [("update", name) for name in updated]
    shown = json.loads(planned.output[planned.output.index("{\n") :])
    told = " ".join(it["message"] for it in shown["diagnostics"])
    assert f"This `up` gives {TRAEFIK} 3 copies instead of 2" in told
    assert "All other volumes keep their number until `make replicas`" in told
    more = lab.up()
    assert (more.code, more.changes) == (0, {"updated": 3}), more.output
    assert f"{LIBRARY} (2). `make replicas` sets them to 3." in " ".join(more.output.split())
    assert copies(api)[TRAEFIK] == (3, 3)
    assert copies(api)[LIBRARY][0] == 2
    again = lab.up()
    assert (again.code, again.changes) == (0, {})

    done = lab.make("replicas")
    assert done.code == 0, done.output
    assert f"{LIBRARY} (1.0 GiB): 2 → 3" in done.output
    assert copies(api)[LIBRARY][0] == 3
    assert lab.make("replicas").output.count(LIBRARY) == 0

    lab.set("longhorn.replicas", 1)
    fewer = lab.up()
    assert (fewer.code, fewer.changes) == (0, {"updated": 3}), fewer.output
    assert "Longhorn deletes the surplus copies" in " ".join(fewer.output.split())
    assert copies(api)[TRAEFIK] == (1, 1)
    assert copies(api)[LIBRARY][0] == 3
    assert_no_diff(lab)

    lab.set("nodes.workers.count", 4)
    planned = lab.preview()
    assert planned.changes == {"create": 3, "update": 3}
    assert ("update", "longhorn-storage") in planned.steps
    grown = lab.up()
    assert (grown.code, grown.changes) == (0, {"created": 3, "updated": 3}), grown.output
    disks = (api.get(f"{PATH}/nodes/castle-worker-4") or {})["spec"]["disks"]
    assert [disk["path"].rstrip("/") for disk in disks.values()] == ["/var/mnt/longhorn"]
    assert_no_diff(lab)
