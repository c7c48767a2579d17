"""A stack from ``up`` to ``down`` on a simulated rack: real engine, providers and charts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, missing, without

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
changes = pytest.mark.skipif(bool(without(CHANGES)), reason=without(CHANGES))


def assert_no_diff(lab: Lab) -> None:
    planned = lab.preview()
    # A preview that failed plans nothing either.
    assert planned.code == 0, planned.output
    assert planned.steps == []


def assert_empty(lab: Lab) -> None:
    """Check that nothing of the stack is left on the rack."""
    assert lab.guests() == {}
    assert lab.proxmox("GET", "/pools") == []
    for host in lab.config["ephemeral-castle:proxmox"]["hosts"]:
        for storage in ("local", "local-lvm"):
            assert lab.proxmox("GET", f"/nodes/{host}/storage/{storage}/content") == []


def assert_up(lab: Lab) -> None:
    done = lab.up()
    assert done.code == 0, done.output


def test_up_again_refresh_destroy_and_up_again(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    assert_up(lab)
    again = lab.up()
    assert again.code == 0 and not again.changes
    refreshed = lab.pulumi("refresh", "--yes", "--stack", lab.stack)
    assert refreshed.code == 0 and not refreshed.changes
    assert_state_from_outside(lab)
    # What is shown is swept for secrets when the test ends, as after every other.
    assert lab.state() and lab.pulumi("stack", "output", "--stack", lab.stack).code == 0
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)
    assert_up(lab)
    assert_no_diff(lab)


def assert_state_from_outside(lab: Lab) -> None:
    """Every system is what the settings say, seen from Proxmox and from Kubernetes."""
    guests = lab.guests()
    assert {id_: guest["name"] for id_, guest in guests.items()} == {
        8000: "castle-control-plane-1",
        8010: "castle-worker-1",
        8011: "castle-worker-2",
        8012: "castle-worker-3",
    }
    assert all(guest["status"] == "running" for guest in guests.values())
    nodes = {
        node["metadata"]["name"]: node["status"]["addresses"]
        for node in lab.kubectl("/api/v1/nodes")["items"]
    }
    assert {"type": "InternalIP", "address": f"{lab.prefix}.155"} in nodes["castle-worker-1"]
    assert set(nodes) == {guest["name"] for guest in guests.values()}
    service = lab.kubectl("/api/v1/namespaces/traefik/services/traefik")
    assert service["status"]["loadBalancer"]["ingress"][0]["ip"] == f"{lab.prefix}.240"
    claim = lab.kubectl("/api/v1/namespaces/traefik/persistentvolumeclaims/traefik-certificates")
    assert claim["status"]["phase"] == "Bound"
    assert claim["spec"]["storageClassName"] == "longhorn"
    pool = lab.kubectl(
        "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools/main-pool"
    )
    assert pool["spec"]["addresses"] == [f"{lab.prefix}.240-{lab.prefix}.245"]
    route = lab.kubectl("/apis/traefik.io/v1alpha1/namespaces/whoami/ingressroutes/whoami")
    assert route["spec"]["tls"] == {"certResolver": "letsencrypt"}
    for name, level in (
        ("longhorn-system", "privileged"),
        ("metallb-system", "privileged"),
        ("traefik", "baseline"),
        ("whoami", "restricted"),
    ):
        labels = lab.kubectl(f"/api/v1/namespaces/{name}")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == level


@changes
def test_more_and_fewer_workers_touch_nothing_else(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    lab.set("nodes.control_planes.first_address", f"{lab.prefix}.251")
    assert_up(lab)
    lab.set("nodes.workers.count", 4)
    assert lab.preview().steps == [
        ("create", "cluster-castle-worker-4"),
        ("create", "cluster-castle-worker-4-config"),
        ("create", "machines-castle-worker-4"),
        ("update", "cluster-readiness"),
        ("update", "longhorn-storage"),
        ("update", "record"),
    ]
    more = lab.up()
    assert (more.code, more.changes) == (0, {"created": 3, "updated": 3})
    lab.set("nodes.workers.count", 2)
    fewer = lab.up()
    assert (fewer.code, fewer.changes) == (0, {"deleted": 6, "updated": 3})
    assert sorted(lab.guests()) == [8000, 8010, 8011]
    lab.set("nodes.control_planes.count", 3)
    three = lab.up()
    assert (three.code, three.changes) == (0, {"created": 6, "updated": 2})
    assert_no_diff(lab)


@changes
def test_growth_and_new_images_make_no_machine_anew(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    lab.set("cluster.talos", "v1.13.0")
    assert_up(lab)
    for path, value in (
        ("nodes.workers.memory_mib", 9216),
        ("nodes.workers.data_disk_gib", 50),
        ("nodes.workers.os_disk_gib", 38),
        ("cluster.talos", "v1.13.9"),
        ("image.extensions", ["siderolabs/i915"]),
        ("longhorn.replicas", 3),
        ("longhorn.backup", {"target": "nfs://192.168.1.5:/backups"}),
        ("longhorn.backup", None),
        ("traefik.acme", {"email": "me@tazlab.net", "server": "production"}),
    ):
        lab.set(path, value)
        planned = lab.preview()
        assert planned.code == 0 and planned.steps, path
        assert not [name for op, name in planned.steps if op != "update" and "machines" in name]
        done = lab.up()
        assert done.code == 0, (path, done.output)
        assert_no_diff(lab)


def test_from_one_exposure_to_the_other_and_back_keeps_the_certificates(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    assert_up(lab)
    claim = "/api/v1/namespaces/traefik/persistentvolumeclaims/traefik-certificates"
    before = lab.kubectl(claim)["metadata"]["uid"]
    deployment = "/apis/apps/v1/namespaces/traefik/deployments/traefik"
    for exposure, on_host in (("host-network", True), ("load-balancer", None)):
        lab.set("traefik.exposure", exposure)
        assert_up(lab)
        spec = lab.kubectl(deployment)["spec"]["template"]["spec"]
        assert spec.get("hostNetwork") is on_host
        assert lab.kubectl(claim)["metadata"]["uid"] == before
        assert_no_diff(lab)


def test_a_foreign_machine_is_refused_and_never_touched(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    nas = {"vmid": 8011, "name": "precious-nas", "scsi0": "local-lvm:4"}
    lab.proxmox("POST", "/nodes/pve1/qemu", **nas)
    lab.proxmox("POST", "/nodes/pve1/qemu/8011/status/start", timeout=1)
    before, begin = standing(lab), len(lab.control("GET", "/requests"))
    assert [guest["status"] for guest in before.values()] == ["running"]
    disks = lab.proxmox("GET", "/nodes/pve1/storage/local-lvm/content")
    assert [disk["volid"] for disk in disks] == ["local-lvm:vm-8011-disk-0"]
    for done in (lab.preview(), lab.up(), lab.up("--skip-preview")):
        assert done.code != 0
        assert "VM id 8011, wanted for castle-worker-2, is taken" in done.output
        assert "'precious-nas'" in done.output
    assert standing(lab) == before
    assert lab.proxmox("GET", "/nodes/pve1/storage/local/content") == []
    lab.set("nodes.overrides", {"worker-2": {"vm_id": 8099}})
    assert_up(lab)
    # A machine of ours that lost its tag is ours by the state.
    lab.proxmox("PUT", "/nodes/pve1/qemu/8010/config", tags="talos")
    assert_up(lab)
    assert lab.destroy().code == 0
    assert standing(lab) == before
    assert lab.proxmox("GET", "/nodes/pve1/storage/local-lvm/content") == disks
    asked = [it for it in lab.control("GET", "/requests")[begin:] if "/qemu/8011" in it["path"]]
    assert [it for it in asked if it["method"] != "GET"] == []


def standing(lab: Lab) -> dict[int, dict[str, Any]]:
    """Every guest by its id, without what passes as it stands."""
    return {
        id_: {key: value for key, value in guest.items() if key != "uptime"}
        for id_, guest in lab.guests().items()
    }


def test_three_hosts_and_a_destroy_with_a_dead_cluster(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2", "pve3")
    lab.set("nodes.control_planes.count", 3)
    lab.set("nodes.control_planes.first_address", f"{lab.prefix}.251")
    lab.set("cluster.vip", f"{lab.prefix}.250")
    assert_up(lab)
    hosts = {guest["node"] for id_, guest in lab.guests().items() if id_ < 8010}
    assert hosts == {"pve1", "pve2", "pve3"}
    # The machines of the cluster are switched off by hand: nobody answers at the VIP any more.
    for id_, guest in lab.guests().items():
        if id_ < 8010:
            lab.proxmox("POST", f"/nodes/{guest['node']}/qemu/{id_}/status/stop", timeout=1)
    assert lab.preview().code == 0
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_half_of_the_machines_gone_by_hand_and_the_cluster_with_them(make_lab: MakeLab) -> None:
    """The provider stops at a missing machine; `make down` looks at the machines first."""
    lab = make_lab("pve1")
    assert_up(lab)
    for id_ in (8000, 8011):
        lab.proxmox("POST", f"/nodes/pve1/qemu/{id_}/status/stop", timeout=1)
        lab.proxmox("DELETE", f"/nodes/pve1/qemu/{id_}?purge=1&destroy-unreferenced-disks=1")
    stopped = lab.destroy()
    assert stopped.code != 0 and "does not exist" in stopped.output
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)
    again = lab.make("down")
    assert again.code == 0, again.output


def namespaces(lab: Lab) -> set[str]:
    return {item["metadata"]["name"] for item in lab.kubectl("/api/v1/namespaces")["items"]}


@pytest.mark.parametrize("component", ["longhorn", "metallb"])
def test_one_component_alone_is_uninstalled_and_comes_back(
    make_lab: MakeLab, component: str
) -> None:
    lab = make_lab("pve1")
    assert_up(lab)
    machines = lab.guests()
    others = {"longhorn-system", "metallb-system"} - {f"{component}-system"}
    # Traefik needs it and goes with it; all of this asks the living cluster.
    target = ("--target", f"**::{component}*", "--target-dependents")
    gone = lab.pulumi("destroy", "--yes", "--stack", lab.stack, *target)
    assert gone.code == 0, gone.output
    assert others < namespaces(lab)
    assert not {f"{component}-system", "traefik"} & namespaces(lab)
    assert lab.guests().keys() == machines.keys()
    assert_up(lab)
    assert_no_diff(lab)


def test_two_castles_on_one_rack_do_not_touch_each_other(make_lab: MakeLab) -> None:
    first = make_lab("pve1", "pve2")
    second = make_lab.beside(first, "second")
    second.set("proxmox.first_vm_id", 9000)
    second.set("proxmox.pool", "second")
    assert_up(first)
    assert_up(second)
    mine = {id_: guest for id_, guest in second.guests().items() if id_ >= 9000}
    assert len(mine) == len(second.guests()) / 2 == 4
    assert_no_diff(first)
    gone = first.make("down")
    assert gone.code == 0, gone.output
    assert second.guests().keys() == mine.keys()
    assert_no_diff(second)
    assert second.make("down").code == 0
    assert_empty(second)


def test_a_slow_proxmox_is_taken_down_too(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    assert_up(lab)
    for method in ("GET", "POST", "DELETE"):
        lab.control(
            "POST",
            "/faults",
            {"method": method, "kind": "slow", "seconds": 1, "times": None},
        )
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)
