"""Changes of the machine configs of a running cluster, with the real engine and talosctl.

What Talos takes up as it runs reaches all nodes at once; what needs a reboot goes from node to
node, and somebody watches that no two machines are down together and that the API answers.
"""

from __future__ import annotations

import pytest
import yaml

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, without
from tests.e2e.test_day_two import NEW, OLD, nodes_to_update, start, three
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up
from tests.e2e.watch import Kubernetes, diary, order, rebooted, watched

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)

FILE = {"machine": {"files": [{"path": "/var/etc/castle", "op": "create", "content": "one\n"}]}}
"""A patch that Talos takes up by a reboot only."""
ARGUMENTS = {"cluster": {"apiServer": {"extraArgs": {"event-ttl": "2h0m0s"}}}}
"""A patch that restarts the API of a control plane."""


def planned(lab: Lab, *, configs: bool = False) -> list[str]:
    """The nodes that a preview would restart or reboot, by their short names, in order; or those
    whose ``configs`` it would send."""
    found = lab.preview()
    assert found.code == 0, found.output
    assert {op for op, _ in found.steps} == {"update"}, found.steps
    if not configs:
        return nodes_to_update(found)
    names = [name for _, name in found.steps if name.endswith("-config")]
    return [name.removeprefix("cluster-castle-").removesuffix("-config") for name in names]


ALL = ["control-plane-1", "control-plane-2", "control-plane-3", "worker-1", "worker-2"]


def test_at_once_or_one_node_at_a_time(make_lab: MakeLab) -> None:
    lab = three(make_lab, NEW, "v1.36.3")
    kubernetes, begin = Kubernetes(lab), len(diary(lab))
    lab.set("cluster.ntp", [f"{lab.prefix}.1"])
    lab.set("cluster.registry_mirrors", {"docker.io": ["https://mirror.tazlab.net:5000"]})
    assert planned(lab) == []
    assert planned(lab, configs=True) == ALL
    with watched(lab):
        assert_up(lab)
    assert diary(lab)[begin:] == []
    assert_no_diff(lab)
    lab.set("nodes.control_planes.patches", [FILE])
    lab.set("nodes.workers.patches", [FILE])
    assert planned(lab) == ALL
    with watched(lab):
        lab.kill_at("cluster-castle-control-plane-2 updating")
        assert lab.pulumi("cancel", "--yes", "--stack", lab.stack).code == 0
        assert_up(lab)
    turns = [address.rpartition(".")[2] for address in rebooted(diary(lab)[begin:])]
    assert turns == ["251", "252", "253", "155", "156"]
    assert kubernetes.cordoned() == []
    assert_no_diff(lab)
    begin = len(diary(lab))
    lab.set("nodes.control_planes.patches", [FILE, ARGUMENTS])
    assert planned(lab) == ALL[:3]
    # Longer than all else takes: without a wait the next one would stop before this one runs.
    order(lab, restart_s=10)
    with watched(lab):
        assert_up(lab)
    assert [(what, whose) for _, what, whose in diary(lab)[begin:]] == [
        (what, f"kube-apiserver-castle-{node}") for node in ALL[:3] for what in ("stopped", "runs")
    ]
    assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_a_version_a_config_and_memory_cost_one_reboot(make_lab: MakeLab) -> None:
    lab = three(make_lab, OLD, "v1.36.3")
    kubernetes, begin = Kubernetes(lab), len(diary(lab))
    lab.set("cluster.talos", NEW)
    lab.set("cluster.kubernetes", "v1.36.4")
    lab.set("nodes.control_planes.patches", [FILE, ARGUMENTS])
    lab.set("nodes.workers.patches", [FILE])
    lab.set("nodes.workers.memory_mib", 9216)
    assert nodes_to_update(lab.preview()) == ALL
    with watched(lab):
        assert_up(lab)
    # None waits for the VIP to move: each node reboots once, in the order of the chain.
    turns = [address.rpartition(".")[2] for address in rebooted(diary(lab)[begin:])]
    assert turns == ["251", "252", "253", "155", "156"]
    assert set(kubernetes.versions().values()) == {f"Talos ({NEW})"}
    for name, node in kubernetes.nodes().items():
        assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.4"
        if "worker" in name:
            assert node["status"]["capacity"]["memory"] == "9Gi"
    assert kubernetes.cordoned() == []
    assert_no_diff(lab)


def test_a_node_that_does_not_come_back_with_its_new_config(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    lab.set("timeouts", {"drain_s": 10, "return_s": 30, "rebuild_s": 60})
    assert_up(lab)
    kubernetes, begin = Kubernetes(lab), len(diary(lab))
    order(lab, stays_down=[f"{lab.prefix}.156"])
    lab.set("nodes.workers.patches", [FILE])
    away = lab.up("--skip-preview")
    assert away.code != 0
    assert f"castle-worker-2 ({lab.prefix}.156) did not come back" in away.output
    assert kubernetes.cordoned() == ["castle-worker-2"]
    order(lab, stays_down=[])
    other = {"machine": {"files": [FILE["machine"]["files"][0] | {"content": "two\n"}]}}
    lab.set("nodes.workers.patches", [other])
    refused = lab.up("--skip-preview")
    assert refused.code != 0
    assert "two nodes must not be down at the same time" in refused.output
    assert "not ready: castle-worker-2" in refused.output
    lab.set("nodes.workers.patches", [FILE])
    start(lab, 8011)
    with watched(lab):
        assert_up(lab)
    assert rebooted(diary(lab)[begin:]) == [f"{lab.prefix}.{last}" for last in (155, 156, 157)]
    assert kubernetes.cordoned() == []
    assert_no_diff(lab)


def test_a_secret_in_a_patch_stays_one(make_lab: MakeLab) -> None:
    lab, password = make_lab("pve1"), "hunter2-of-the-registry"
    login = {"apiVersion": "v1alpha1", "kind": "RegistryAuthConfig", "name": "ghcr.io"}
    lab.set("nodes.overrides", {"worker-1": {"patches": [{**login, "username": "me"}]}})
    path = "ephemeral-castle:nodes.overrides.worker-1.patches[0].password"
    done = lab.pulumi("config", "set", "--secret", "--path", path, password, "--stack", lab.stack)
    assert done.code == 0, done.output
    file = lab.program / f"Pulumi.{lab.stack}.yaml"
    lab.config = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
    assert_up(lab)
    assert password not in file.read_text(encoding="utf-8")
    assert password not in lab.state()
    assert password in lab.opened("stack", "export", "--show-secrets")
    assert_no_diff(lab)
