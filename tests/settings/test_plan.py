"""Names, addresses, VM ids and hosts of the planned nodes."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any, get_args

import pytest

from settings.groups import Cluster, Nodes, Proxmox
from settings.node import Node, Role
from settings.plan import WORKER_ID_OFFSET, plan_nodes

CONTROL_PLANES = {"first_address": "192.168.1.230"}
WORKERS = {"first_address": "192.168.1.155"}


def plan(
    *,
    control_planes: dict[str, Any] | None = None,
    workers: dict[str, Any] | None = None,
    overrides: dict[str, Any] | None = None,
    hosts: tuple[str, ...] = ("pve",),
    first_vm_id: int = 8000,
) -> dict[str, Node]:
    """The planned nodes by short name."""
    nodes = Nodes.model_validate(
        {
            "control_planes": CONTROL_PLANES | (control_planes or {}),
            "workers": WORKERS | (workers or {}),
            "overrides": overrides or {},
        }
    )
    cluster = Cluster(vip=IPv4Address("192.168.1.250"))
    planned = plan_nodes(cluster, nodes, Proxmox(hosts=hosts, first_vm_id=first_vm_id))
    return {node.short_name: node for node in planned}


def test_control_planes_come_first_and_numbers_start_at_one() -> None:
    assert list(plan(control_planes={"count": 3}, workers={"count": 2})) == [
        "control-plane-1",
        "control-plane-2",
        "control-plane-3",
        "worker-1",
        "worker-2",
    ]


def test_a_node_name_contains_cluster_role_and_number() -> None:
    machines = plan()
    assert machines["worker-2"].name == "castle-worker-2"
    assert machines["worker-2"].role is Role.WORKER
    assert machines["control-plane-1"].name == "castle-control-plane-1"
    assert machines["control-plane-1"].role is Role.CONTROL_PLANE


def test_addresses_follow_the_first_address() -> None:
    machines = plan(control_planes={"count": 3}, workers={"count": 3})
    assert [str(machines[f"control-plane-{n}"].address) for n in (1, 2, 3)] == [
        "192.168.1.230",
        "192.168.1.231",
        "192.168.1.232",
    ]
    assert [str(machines[f"worker-{n}"].address) for n in (1, 2, 3)] == [
        "192.168.1.155",
        "192.168.1.156",
        "192.168.1.157",
    ]


def test_vm_ids_leave_room_for_five_control_planes() -> None:
    machines = plan(control_planes={"count": 5}, workers={"count": 2}, first_vm_id=9000)
    assert [node.vm_id for node in machines.values()] == [
        *range(9000, 9005),
        9000 + WORKER_ID_OFFSET,
        9001 + WORKER_ID_OFFSET,
    ]


def test_a_node_has_the_sizes_of_its_role() -> None:
    machines = plan(
        control_planes={"cores": 3, "memory_mib": 5000, "os_disk_gib": 40, "data_disk_gib": 50},
        workers={"cores": 6, "memory_mib": 9000, "os_disk_gib": 41, "data_disk_gib": None},
    )
    assert _size(machines["control-plane-1"]) == (3, 5000, 40, 50)
    assert _size(machines["worker-3"]) == (6, 9000, 41, None)


def test_only_workers_have_a_data_disk_by_default() -> None:
    machines = plan()
    assert machines["control-plane-1"].data_disk_gib is None
    assert machines["worker-1"].data_disk_gib == 43


@pytest.mark.parametrize("hosts", [("a", "b", "c"), ("a", "b", "c", "d", "e")])
def test_control_planes_are_on_different_hosts(hosts: tuple[str, ...]) -> None:
    machines = plan(control_planes={"count": 3}, hosts=hosts)
    assert [machines[f"control-plane-{n}"].host for n in (1, 2, 3)] == list(hosts[:3])


def test_workers_are_spread_starting_at_the_last_host() -> None:
    machines = plan(workers={"count": 4}, hosts=("a", "b", "c"))
    assert [machines[f"worker-{n}"].host for n in (1, 2, 3, 4)] == ["c", "b", "a", "c"]


def test_the_first_worker_is_not_beside_the_only_control_plane() -> None:
    machines = plan(hosts=("a", "b"))
    assert machines["control-plane-1"].host != machines["worker-1"].host


@pytest.mark.parametrize("hosts", [("pve",), ("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("count", [0, 1, 3, 29])
def test_an_additional_worker_changes_no_other_node(count: int, hosts: tuple[str, ...]) -> None:
    before = plan(workers={"count": count}, hosts=hosts)
    after = plan(workers={"count": count + 1}, hosts=hosts)
    assert after.keys() - before.keys() == {f"worker-{count + 1}"}
    assert after | before == after


@pytest.mark.parametrize(("count", "more"), [(1, 3), (3, 5)])
def test_additional_control_planes_change_no_other_node(count: int, more: int) -> None:
    hosts = ("a", "b", "c")
    before = plan(control_planes={"count": count}, hosts=hosts)
    after = plan(control_planes={"count": more}, hosts=hosts)
    assert len(after) - len(before) == more - count
    assert after | before == after


OVERRIDES = {
    "address": ("192.168.1.180", IPv4Address("192.168.1.180")),
    "vm_id": (8099, 8099),
    "host": ("pve2", "pve2"),
    "cores": (8, 8),
    "memory_mib": (16384, 16384),
    "os_disk_gib": (50, 50),
    "data_disk_gib": (100, 100),
    "keep_data_disk_on_destroy": (True, True),
    "patches": ([{"debug": True}], ({"debug": True},)),
}


@pytest.mark.parametrize("key", OVERRIDES)
def test_an_override_changes_one_setting_of_one_node(key: str) -> None:
    written, wanted = OVERRIDES[key]
    before, after = plan(), plan(overrides={"worker-2": {key: written}})
    changed = {
        (name, field)
        for name in after
        for field in Node.__dataclass_fields__
        if getattr(after[name], field) != getattr(before[name], field)
    }
    assert changed == {("worker-2", key)}
    assert getattr(after["worker-2"], key) == wanted


def test_every_key_of_an_override_is_tested() -> None:
    overrides = Nodes.model_fields["overrides"].annotation
    (_, override) = get_args(overrides)
    assert set(override.model_fields) == set(OVERRIDES)


def test_an_override_of_null_removes_the_data_disk() -> None:
    machines = plan(overrides={"worker-2": {"data_disk_gib": None}})
    assert machines["worker-2"].data_disk_gib is None
    assert machines["worker-1"].data_disk_gib == 43


@pytest.mark.parametrize("key", sorted(OVERRIDES.keys() - {"data_disk_gib"}))
def test_an_override_of_null_keeps_other_settings_of_the_role(key: str) -> None:
    assert plan(overrides={"worker-2": {key: None}}) == plan()


def test_patches_of_an_override_come_after_those_of_the_role() -> None:
    role, own = {"debug": True}, {"debug": False}
    machines = plan(
        workers={"count": 2, "patches": [role]}, overrides={"worker-2": {"patches": [own]}}
    )
    assert machines["worker-1"].patches == (role,)
    assert machines["worker-2"].patches == (role, own)


def test_an_override_of_a_missing_node_applies_when_the_node_exists() -> None:
    overrides = {"worker-4": {"cores": 8}}
    assert plan(overrides=overrides) == plan()
    assert plan(workers={"count": 4}, overrides=overrides)["worker-4"].cores == 8


def _size(node: Node) -> tuple[int, int, int, int | None]:
    return node.cores, node.memory_mib, node.os_disk_gib, node.data_disk_gib


# Existing VMs -----------------------------------------------------------------------


def planned_hosts(
    hosts: tuple[str, ...],
    running: dict[str, str],
    *,
    workers: int = 3,
    control_planes: int = 1,
    overrides: dict[str, Any] | None = None,
) -> dict[str, str]:
    """The planned host of each node, by short name; ``running`` has the hosts of existing VMs."""
    nodes = Nodes.model_validate(
        {
            "control_planes": CONTROL_PLANES | {"count": control_planes},
            "workers": WORKERS | {"count": workers},
            "overrides": overrides or {},
        }
    )
    cluster = Cluster(vip=IPv4Address("192.168.1.250"))
    names = {f"castle-{name}": host for name, host in running.items()}
    planned = plan_nodes(cluster, nodes, Proxmox(hosts=hosts), names)
    return {node.short_name: node.host for node in planned}


THREE = ("a", "b", "c")


@pytest.mark.parametrize("workers", [1, 3, 4, 7, 29])
@pytest.mark.parametrize("control_planes", [1, 3, 5])
def test_a_new_host_moves_no_vm(workers: int, control_planes: int) -> None:
    runs = planned_hosts(THREE, {}, workers=workers, control_planes=control_planes)
    for hosts in ((*THREE, "d"), ("d", *THREE), ("c", "d", "a", "b")):
        assert planned_hosts(hosts, runs, workers=workers, control_planes=control_planes) == runs


def test_a_new_vm_goes_to_the_host_with_the_fewest_vms_of_its_role() -> None:
    runs = planned_hosts(THREE, {}, workers=4)
    assert planned_hosts((*THREE, "d"), runs, workers=6) == runs | {
        "worker-5": "d",
        "worker-6": "d",
    }
    runs = planned_hosts(("a", "b"), {}, control_planes=3)
    assert runs["control-plane-3"] == "a"
    more = planned_hosts(THREE, runs, control_planes=5)
    assert (more["control-plane-4"], more["control-plane-5"]) == ("c", "b")


def test_a_partly_deployed_stack_is_completed_evenly() -> None:
    planned = planned_hosts(THREE, {}, workers=6, control_planes=3)
    for made in (["worker-2", "worker-5"], ["control-plane-2"], list(planned)[::2]):
        some = {name: planned[name] for name in made}
        rest = planned_hosts(THREE, some, workers=6, control_planes=3)
        assert rest | some == rest
        assert sorted(rest.values()) == sorted(planned.values())


def test_removing_a_host_moves_only_the_vms_of_that_host() -> None:
    runs = planned_hosts(THREE, {}, workers=4)
    left = planned_hosts(("a", "b"), runs, workers=4)
    moved = {name for name in runs if left[name] != runs[name]}
    assert moved == {"worker-1", "worker-4"}
    assert sorted(left[name] for name in ("worker-1", "worker-4")) == ["a", "b"]


def test_an_override_moves_a_running_vm() -> None:
    runs = planned_hosts(THREE, {})
    to_a = {"worker-1": {"host": "a"}}
    assert planned_hosts(THREE, runs, overrides=to_a) == runs | {"worker-1": "a"}
    # After the override is removed, the VM stays on its current host.
    assert planned_hosts(THREE, runs | {"worker-1": "a"}) == runs | {"worker-1": "a"}


def test_an_override_of_a_new_vm_does_not_move_the_others() -> None:
    fresh = planned_hosts(THREE, {}, workers=6)
    pinned = planned_hosts(THREE, {}, workers=6, overrides={"worker-2": {"host": "c"}})
    assert pinned == fresh | {"worker-2": "c"}


def test_vms_with_other_names_do_not_affect_the_plan() -> None:
    assert planned_hosts(THREE, {"worker-9": "a", "other": "b"}) == planned_hosts(THREE, {})
