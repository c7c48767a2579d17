"""Changes that a running stack refuses, and changes that it accepts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from settings import rules
from settings.models import Settings
from settings.problems import Problem, SettingsError
from settings.running import RunningMachine, RunningStack
from tests.recorder import settings_with


def running_as(settings: Settings, *, has_come_up: bool = True, **changes: Any) -> RunningStack:
    """The running stack after a deployment of these settings."""
    machines = {
        node.name: RunningMachine(
            name=node.name,
            role=node.role,
            host=node.host,
            vm_id=node.vm_id,
            address=str(node.address),
            cores=node.cores,
            memory_mib=node.memory_mib,
            os_disk_gib=node.os_disk_gib,
            data_disk_gib=node.data_disk_gib,
            datastore=settings.proxmox.disk_datastore,
            pool=settings.proxmox.pool,
            talos=settings.cluster.talos,
            has_come_up=has_come_up,
        )
        for node in settings.machines
    }
    stack = RunningStack(
        machines=machines,
        talos=settings.cluster.talos,
        kubernetes=frozenset({settings.cluster.kubernetes}),
        pool=settings.proxmox.pool,
        has_machine_secrets=True,
        is_bootstrapped=has_come_up,
    )
    return replace(stack, **changes)


def broken(settings: Settings, running: RunningStack) -> list[Problem]:
    """The problems of these settings with this running stack."""
    groups = {name: getattr(settings, name) for name in Settings.model_fields}
    return list(rules.broken(groups | {"running": running}))


REFUSED = [
    ({"cluster": {"talos": "v1.12.7", "kubernetes": "v1.35.2"}}, "cluster.talos", "downgraded"),
    ({"cluster": {"kubernetes": "v1.35.2"}}, "cluster.kubernetes", "cannot be downgraded"),
    (
        {"nodes": {"workers": {"data_disk_gib": 40}}},
        "nodes.workers.data_disk_gib",
        "the data disk of castle-worker-1 has 43 GiB, and a disk cannot shrink",
    ),
    (
        {"nodes": {"overrides": {"worker-1": {"data_disk_gib": None}}}},
        "nodes.overrides.worker-1.data_disk_gib",
        "castle-worker-1 runs with a data disk of 43 GiB, which cannot be removed",
    ),
    (
        {"nodes": {"workers": {"os_disk_gib": 33}}},
        "nodes.workers.os_disk_gib",
        "the OS disk of castle-worker-1 has 34 GiB",
    ),
    (
        {"nodes": {"workers": {"memory_mib": 9216, "os_disk_gib": 38}}},
        "nodes.workers.os_disk_gib",
        "no disk of castle-worker-1 can grow in the same `up` that changes memory_mib",
    ),
    (
        {"nodes": {"workers": {"first_address": "192.168.1.165"}}},
        "nodes.workers.first_address",
        "castle-worker-1 runs at 192.168.1.155",
    ),
    (
        {"proxmox": {"disk_datastore": "ceph"}},
        "proxmox.disk_datastore",
        "castle-control-plane-1 has its disks on local-lvm",
    ),
    (
        {"nodes": {"workers": {"keep_data_disk_on_destroy": True}}},
        "nodes.workers.keep_data_disk_on_destroy",
        "so Proxmox deletes the disk with the VM",
    ),
    ({"proxmox": {"pool": None}}, "proxmox.pool", "Proxmox deletes no pool with members"),
    (
        {"cluster": {"restore_from": "old.db.age"}},
        "cluster.restore_from",
        "a restore would discard",
    ),
]


@pytest.mark.parametrize(("change", "path", "words"), REFUSED, ids=[it[1] for it in REFUSED])
def test_a_running_stack_refuses_the_change(change: dict[str, Any], path: str, words: str) -> None:
    runs = running_as(settings_with())
    settings = settings_of_change(change)
    (problem,) = (it for it in broken(settings, runs) if it.path == path)
    assert words in problem.reason
    assert problem.fix


@pytest.mark.parametrize(
    ("change", "path"), [it[:2] for it in REFUSED[:-1]], ids=[it[1] for it in REFUSED[:-1]]
)
def test_every_setting_can_change_until_a_node_was_ready(change: dict[str, Any], path: str) -> None:
    runs = running_as(settings_with(), has_come_up=False)
    assert broken(settings_of_change(change), runs) == []


def settings_of_change(change: dict[str, Any]) -> Settings:
    """The settings of Pulumi.homelab.yaml with a change.

    ``restore_from`` is set after loading, because ``load`` refuses it without an age key.
    """
    restore = change.get("cluster", {}).get("restore_from")
    if restore is None:
        return settings_with(**change)
    settings = settings_with()
    cluster = settings.cluster.model_copy(update={"restore_from": restore})
    return settings.model_copy(update={"cluster": cluster})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"nodes": {"workers": {"count": 4}}},
        {"nodes": {"workers": {"memory_mib": 9216, "cores": 8}}},
        {"nodes": {"workers": {"data_disk_gib": 50}}},
        {"nodes": {"control_planes": {"data_disk_gib": 43, "memory_mib": 8192}}},
        {"proxmox": {"pool": "another"}},
        # With other VM ids the nodes become new VMs.
        {"proxmox": {"first_vm_id": 8100, "disk_datastore": "ceph"}},
    ],
)
def test_a_running_stack_accepts_the_change(change: dict[str, Any]) -> None:
    assert broken(settings_with(**change), running_as(settings_with())) == []


def test_one_message_lists_all_problems() -> None:
    runs = running_as(settings_with())
    with pytest.raises(SettingsError) as raised:
        settings_with(
            running=runs,
            cluster={"kubernetes": "v1.35.2", "vip": "10.0.0.1"},
            nodes={"workers": {"data_disk_gib": 40}},
        )
    paths = {problem.path for problem in raised.value.problems}
    assert paths >= {"cluster.kubernetes", "cluster.vip", "nodes.workers.data_disk_gib"}


def test_an_interrupted_upgrade_can_continue_but_not_go_back() -> None:
    """One node still runs the old version."""
    settings = settings_with(cluster={"talos": "v1.13.0"})
    runs = running_as(settings)
    old = replace(runs.machines["castle-worker-3"], talos="v1.12.7")
    runs = replace(runs, machines={**runs.machines, "castle-worker-3": old})
    assert broken(settings, runs) == []
    back = settings_with(cluster={"talos": "v1.12.7", "kubernetes": "v1.35.2"})
    assert "cluster.talos" in {it.path for it in broken(back, runs)}


def test_a_talos_that_does_not_support_the_running_kubernetes_is_refused() -> None:
    runs = replace(running_as(settings_with()), talos="v1.12.7", kubernetes=frozenset({"v1.30.4"}))
    machines = {name: replace(it, talos="v1.12.7") for name, it in runs.machines.items()}
    settings = settings_with(cluster={"talos": "v1.13.9", "kubernetes": "v1.31.2"})
    found = broken(settings, replace(runs, machines=machines))
    (problem,) = (it for it in found if it.path == "cluster.talos")
    assert "cluster.kubernetes to v1.31.x, run `make up`" in problem.fix


def test_restore_from_may_stay_in_the_file_after_the_restore() -> None:
    runs = replace(running_as(settings_with()), restored_from="old.db.age")
    settings = settings_of_change({"cluster": {"restore_from": "old.db.age"}})
    assert [it.path for it in broken(settings, runs)] == ["sops.age_key"]
    assert "cluster.restore_from" in {
        it.path for it in broken(settings, replace(runs, restored_from=None))
    }


def test_a_setting_of_a_role_is_reported_once() -> None:
    runs = running_as(settings_with(nodes={"workers": {"count": 20}}))
    changed = settings_with(nodes={"workers": {"count": 20, "data_disk_gib": 40}})
    assert len(broken(changed, runs)) == 1


def test_a_value_that_is_missing_in_the_state_is_not_compared() -> None:
    runs = running_as(settings_with())
    lost = {name: RunningMachine(name=name, has_come_up=True) for name in runs.machines}
    changed = settings_with(nodes={"workers": {"data_disk_gib": 40}})
    assert broken(changed, replace(runs, machines=lost)) == []


@pytest.mark.parametrize(
    ("runs", "wanted", "reason"),
    [
        ("1.12.2", "1.12.1", "the cluster runs Longhorn 1.12.2, and Longhorn cannot be downgraded"),
        ("1.10.1", "1.12.1", "the cluster runs Longhorn 1.10.1, and an upgrade to 1.12.1 skips a"),
    ],
)
def test_a_longhorn_downgrade_or_a_skipped_minor_version_is_refused(
    runs: str, wanted: str, reason: str
) -> None:
    settings = settings_with(longhorn={"chart_version": wanted})
    running = running_as(settings, charts={"longhorn": runs})
    (problem,) = broken(settings, running)
    assert problem.path == "longhorn.chart_version"
    assert problem.reason.startswith(reason)
    assert broken(settings, running_as(settings, charts={"longhorn": wanted})) == []
