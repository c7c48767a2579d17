"""Upgrades and changes of size of a running cluster on a simulated rack, with the real engine.

The real ``talosctl`` does it; whatever happens, somebody watches that no two machines are down
together, that no volume loses its last healthy replica, and that the API answers.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, Run, without
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up
from tests.e2e.watch import Kubernetes, assert_one_at_a_time, diary, order, rebooted, watched

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)

OLD, NEW = "v1.13.0", "v1.13.9"


def three(make_lab: MakeLab, talos: str, kubernetes: str, first: int = 251) -> Lab:
    """Three control planes, at addresses from ``first``, and two workers, of these versions."""
    lab = make_lab("pve1", "pve2", "pve3")
    lab.set("nodes.control_planes.count", 3)
    lab.set("nodes.control_planes.first_address", f"{lab.prefix}.{first}")
    lab.set("nodes.workers.count", 2)
    lab.set("cluster.talos", talos)
    lab.set("cluster.kubernetes", kubernetes)
    lab.set("timeouts", {"drain_s": 20, "return_s": 60, "rebuild_s": 60})
    assert_up(lab)
    return lab


@pytest.fixture
def living(make_lab: MakeLab) -> Lab:
    """Three control planes and two workers, all with an old Talos."""
    return three(make_lab, OLD, "v1.36.3")


def nodes_to_update(planned: Run) -> list[str]:
    """The nodes that a preview would upgrade, power-cycle or reboot, by their short names."""
    return [
        name.removeprefix("cluster-castle-")
        for op, name in planned.steps
        if op == "update" and name.startswith("cluster-castle-") and not name.endswith("-config")
    ]


def test_a_new_talos_one_node_at_a_time(living: Lab) -> None:
    lab, kubernetes = living, Kubernetes(living)
    lab.set("cluster.talos", NEW)
    planned = lab.preview()
    assert planned.code == 0, planned.output
    assert len(nodes_to_update(planned)) == 5
    assert ("update", "cluster-etcd-snapshot") in planned.steps
    begin = len(diary(lab))
    with watched(lab):
        assert_up(lab)
    assert set(kubernetes.versions().values()) == {f"Talos ({NEW})"}
    assert kubernetes.cordoned() == []
    turns = [address.rpartition(".")[2] for address in rebooted(diary(lab)[begin:])]
    # The first control plane, which was alone when the VIP came up, has it: so it is the last.
    assert turns == ["252", "253", "251", "155", "156"]
    assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_an_upgrade_that_is_refused_or_stopped(living: Lab) -> None:
    lab, kubernetes = living, Kubernetes(living)
    lab.set("cluster.talos", "v1.12.7")
    lab.set("cluster.kubernetes", "v1.34.0")
    back = lab.preview()
    assert back.code != 0
    assert f"the cluster runs Talos {OLD}, and Talos cannot be downgraded" in back.output
    assert "the cluster runs Kubernetes v1.36.3, and Kubernetes cannot be downgraded" in back.output
    lab.set("cluster.kubernetes", "v1.36.3")
    lab.set("cluster.talos", NEW)
    order(lab, sick_etcd=[f"{lab.prefix}.252"])
    sick = lab.up("--skip-preview")
    assert sick.code != 0
    assert "etcd is not healthy (castle-control-plane-2" in sick.output
    assert set(kubernetes.versions().values()) == {f"Talos ({OLD})"}
    order(lab, sick_etcd=[], stays_down=[f"{lab.prefix}.253"])
    stopped = lab.up("--skip-preview")
    assert stopped.code != 0
    assert f"castle-control-plane-3 ({lab.prefix}.253) did not come back" in stopped.output
    versions = kubernetes.versions()
    # The third one's turn came second: the first one, which has the VIP, is the last.
    renewed = [name for name, version in versions.items() if version == f"Talos ({NEW})"]
    assert renewed == ["castle-control-plane-2"]
    order(lab, stays_down=[])
    start(lab, 8002)
    assert_up(lab)
    assert set(kubernetes.versions().values()) == {f"Talos ({NEW})"}
    assert kubernetes.cordoned() == []
    assert_no_diff(lab)


def test_a_minor_of_talos_first_and_then_one_of_kubernetes(make_lab: MakeLab) -> None:
    lab = three(make_lab, "v1.12.7", "v1.35.2")
    kubernetes = Kubernetes(lab)
    lab.set("cluster.talos", NEW)
    lab.set("cluster.kubernetes", "v1.36.4")
    assert ("update", "cluster-kubernetes") in lab.preview().steps
    with watched(lab):
        lab.kill_at("cluster-kubernetes updating")
        assert set(kubernetes.versions().values()) == {f"Talos ({NEW})"}
        assert lab.pulumi("cancel", "--yes", "--stack", lab.stack).code == 0
        assert_up(lab)
    for node in kubernetes.nodes().values():
        assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.4"
    again = lab.up()
    assert again.code == 0 and not again.changes
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def start(lab: Lab, vm_id: int) -> None:
    """Switch a machine off and on by hand, as in Proxmox' web page."""
    host = lab.guests()[vm_id]["node"]
    lab.proxmox("POST", f"/nodes/{host}/qemu/{vm_id}/status/stop", timeout=1)
    lab.proxmox("POST", f"/nodes/{host}/qemu/{vm_id}/status/start", timeout=1)


def test_fewer_control_planes_and_workers(living: Lab) -> None:
    lab, kubernetes = living, Kubernetes(living)
    lab.set("nodes.workers.count", 3)
    assert_up(lab)
    order(lab, sick_etcd=[f"{lab.prefix}.252"])
    lab.set("nodes.control_planes.count", 1)
    refused = lab.up("--skip-preview")
    assert refused.code != 0
    assert "etcd would lose its majority without castle-control-plane-3" in refused.output
    assert len(kubernetes.nodes()) == 6
    order(lab, sick_etcd=[])
    lab.set("nodes.workers.count", 2)
    with watched(lab, removed=[f"{lab.prefix}.{last}" for last in ("252", "253", "157")]):
        assert_up(lab)
    assert sorted(kubernetes.nodes()) == [
        "castle-control-plane-1",
        "castle-worker-1",
        "castle-worker-2",
    ]
    replicas = kubernetes.call("GET", REPLICAS)["items"]
    assert {replica["spec"]["nodeID"] for replica in replicas} == {
        "castle-worker-1",
        "castle-worker-2",
    }
    assert sorted(lab.guests()) == [8000, 8010, 8011]
    assert_no_diff(lab)


REPLICAS = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/replicas"


@pytest.fixture
def small(make_lab: MakeLab) -> Lab:
    """One control plane and three workers."""
    lab = make_lab("pve1", "pve2")
    lab.set("timeouts", {"drain_s": 10, "return_s": 30, "rebuild_s": 60})
    assert_up(lab)
    return lab


def test_more_memory_one_machine_at_a_time(small: Lab) -> None:
    lab, kubernetes = small, Kubernetes(small)
    lab.set("nodes.workers.memory_mib", 9216)
    begin = len(diary(lab))
    with watched(lab):
        lab.kill_at("cluster-castle-worker-2 updating")
        assert lab.pulumi("cancel", "--yes", "--stack", lab.stack).code == 0
        assert_up(lab)
    assert rebooted(diary(lab)[begin:]) == [f"{lab.prefix}.{last}" for last in (155, 156, 157)]
    for name, node in kubernetes.nodes().items():
        if "worker" in name:
            assert node["status"]["capacity"]["memory"] == "9Gi"
    assert kubernetes.cordoned() == []
    again = lab.up()
    assert again.code == 0 and not again.changes


def test_a_volume_that_is_not_rebuilt_keeps_the_next_machine_up(small: Lab) -> None:
    lab, begin = small, len(diary(small))
    order(lab, rebuilds=False)
    lab.set("timeouts.rebuild_s", 10)
    lab.set("nodes.workers.memory_mib", 9216)
    with watched(lab):
        stopped = lab.up("--skip-preview")
        assert stopped.code != 0
        said = " ".join(stopped.output.split())
        assert "Longhorn did not rebuild replicas outside of castle-worker-2" in said
        assert (
            "castle-worker-2 has the only healthy replica of traefik/traefik-certificates" in said
        )
        assert rebooted(diary(lab)[begin:]) == [f"{lab.prefix}.155"]
        order(lab, rebuilds=True)
        assert_up(lab)
    assert rebooted(diary(lab)[begin:]) == [f"{lab.prefix}.{last}" for last in (155, 156, 157)]
    assert Kubernetes(lab).cordoned() == []
    assert_no_diff(lab)


def test_a_drain_that_cannot_finish_and_a_machine_that_stays_away(small: Lab) -> None:
    lab, kubernetes = small, Kubernetes(small)
    budgets = "/apis/policy/v1/namespaces/whoami/poddisruptionbudgets"
    kubernetes.call("POST", budgets, BUDGET)
    lab.set("nodes.workers.cores", 5)
    begin = len(diary(lab))
    held = lab.up("--skip-preview")
    assert held.code != 0
    assert "could not be drained within 10 s: whoami/whoami-" in held.output
    assert "takes pods again and was not rebooted" in held.output
    assert kubernetes.cordoned() == []
    kubernetes.call("DELETE", f"{budgets}/stay")
    order(lab, stays_down=[f"{lab.prefix}.157"])
    away = lab.up("--skip-preview")
    assert away.code != 0
    assert f"castle-worker-3 ({lab.prefix}.157) did not come back" in away.output
    assert kubernetes.cordoned() == ["castle-worker-3"]
    order(lab, stays_down=[])
    start(lab, 8012)
    assert_up(lab)
    assert kubernetes.cordoned() == []
    assert_one_at_a_time(diary(lab)[begin:], [])
    assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "stay", "namespace": "whoami"},
    "spec": {"minAvailable": "100%", "selector": {}},
}
