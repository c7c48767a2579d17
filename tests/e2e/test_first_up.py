"""A first `up` that fails on a wrong setting: whatever is wrong can be corrected, and `up` goes on.

Nothing of such a stack has come up, so nothing protects it: VMs that exist are created again if
they cannot be changed.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import Lab, missing
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A stack of one control plane and two workers."""
    lab = make_lab("pve1")
    lab.set("longhorn.replicas", 1)
    lab.set("nodes.workers.count", 2)
    return lab


def assert_fails(lab: Lab, words: str) -> None:
    failed = lab.up("--skip-preview")
    assert failed.code != 0, failed.output
    assert words in " ".join(failed.output.split()), failed.output


def assert_corrected(lab: Lab) -> None:
    assert_up(lab)
    assert_no_diff(lab)
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_a_wrong_storage_is_corrected(lab: Lab) -> None:
    lab.set("proxmox.disk_datastore", "no-such-storage")
    assert_fails(lab, "storage 'no-such-storage' does not exist")
    lab.set("proxmox.disk_datastore", "local-lvm")
    assert_corrected(lab)


def test_a_wrong_bridge_is_corrected(lab: Lab) -> None:
    """Proxmox creates a VM with a bridge that does not exist, and does not start it."""
    lab.set("network.bridge", "vmbr9")
    assert_fails(lab, "bridge 'vmbr9' does not exist")
    lab.set("network.bridge", "vmbr0")
    assert_up(lab)
    config = lab.proxmox("GET", "/nodes/pve1/qemu/8000/config")
    assert "bridge=vmbr0" in config["net0"]
    assert_corrected(lab)


def test_more_cores_than_the_host_has_are_corrected(lab: Lab) -> None:
    """Proxmox creates such a VM, too."""
    lab.set("nodes.workers.cores", 17)
    assert_fails(lab, "MAX 16 vcpus allowed per VM on this node")
    lab.set("nodes.workers.cores", 4)
    assert_corrected(lab)


def test_every_value_is_corrected_after_a_first_up_that_failed_half_way(lab: Lab) -> None:
    """Two machines run and wait for their config, the third one could not be created."""
    lab.set("cluster.talos", "v1.13.9")
    fault = {"method": "POST", "path": "/nodes/pve1/qemu", "skip": 2, "times": None}
    lab.control("POST", "/faults", fault)
    assert_fails(lab, "simulated fault")
    lab.control("DELETE", "/faults")
    assert len(lab.guests()) == 2
    lab.set("cluster.talos", "v1.12.7")
    lab.set("cluster.kubernetes", "v1.35.2")
    lab.set("nodes.control_planes.cores", 4)
    lab.set("nodes.control_planes.os_disk_gib", 30)
    lab.set("nodes.workers.first_address", f"{lab.prefix}.165")
    lab.set("nodes.workers.data_disk_gib", 40)
    lab.set("nodes.workers.memory_mib", 4096)
    lab.forget_key("proxmox.pool")
    assert_up(lab)
    config = lab.proxmox("GET", "/nodes/pve1/qemu/8010/config")
    assert config["memory"] in (4096, "4096") and "size=40G" in config["scsi1"]
    assert f"{lab.prefix}.165" in config["ipconfig0"]
    assert "size=30G" in lab.proxmox("GET", "/nodes/pve1/qemu/8000/config")["scsi0"]
    versions = {
        node["status"]["nodeInfo"]["osImage"] for node in lab.kubectl("/api/v1/nodes")["items"]
    }
    assert versions == {"Talos (v1.12.7)"}
    assert_corrected(lab)


def test_a_cluster_that_came_up_is_protected_although_its_first_up_failed(lab: Lab) -> None:
    """The nodes are ready, and a chart could not be installed."""
    repository = lab.config["ephemeral-castle:metallb"]["chart_repository"]
    broken = lab.folder / "charts" / "metallb"
    broken.mkdir(parents=True)
    (broken / "Chart.yaml").write_text("name: metallb\n", encoding="utf-8")
    lab.set("metallb.chart_repository", str(broken.parent))
    failed = lab.up("--skip-preview")
    assert failed.code != 0 and "metallb" in failed.output, failed.output
    lab.set("metallb.chart_repository", repository)
    lab.set("nodes.workers.data_disk_gib", 40)
    for refused in (lab.preview(), lab.up("--skip-preview")):
        assert refused.code != 0
        assert "has 43 GiB, and a disk cannot shrink" in " ".join(refused.output.split())
    lab.set("nodes.workers.data_disk_gib", 43)
    assert_corrected(lab)
