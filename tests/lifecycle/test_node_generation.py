"""The generation counter of a node: it increments if the VM was recreated, reset or reinstalled."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.output import UNKNOWN

from clients.errors import OperationError
from lifecycle.node import NodeLifecycleProvider
from lifecycle.operations import node_replacement
from lifecycle.operations.power import Power

PROGRAM: dict[str, Any] = {
    "node": {
        "name": "castle-worker-1",
        "address": "192.168.1.155",
        "control_plane": False,
        "host": "pve",
        "vm_id": 8010.0,  # Pulumi passes every number as a float
        "retains_data_disk": False,
    },
    "cluster": {
        "talos": "v1.13.9",
        "vip": "192.168.1.250",
        "proxmox_endpoint": "https://192.168.1.10:8006",
        "proxmox_insecure": False,
    },
    "installer": "factory/abc:v1.13.9",
    "configuration": "the role's",
    "patches": [],
    "machine_state": "",
    "credentials": {
        "client_key": "secret",
        "proxmox_token": "castle@pve!pulumi=11111111-2222-3333-4444-555555555555",
    },
    "generation": None,
}
"""The inputs that the program passes."""
STATE = NodeLifecycleProvider().check({}, PROGRAM | {"machine_state": "gone"}).inputs
"""The inputs in the state after the first `up`, which found no VM."""
OUTPUTS = NodeLifecycleProvider().create(dict(STATE)).outs or {}


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_replacement, "require_tools", lambda props: None)


def checked(
    monkeypatch: pytest.MonkeyPatch, status: str = "running", **news: Any
) -> dict[str, Any]:
    """The result of ``check`` if Proxmox reports this status of the VM."""
    monkeypatch.setattr(Power, "status", lambda _: status)
    return NodeLifecycleProvider().check(STATE, PROGRAM | news).inputs


@pytest.mark.parametrize(
    ("news", "generation"),
    [
        ({}, 1),
        ({"credentials": PROGRAM["credentials"] | {"client_key": "renewed"}}, 1),
        ({"machine_state": "blank"}, 2),
        ({"machine_state": "created"}, 2),  # with the same VM id as before
        ({"machine_state": UNKNOWN}, 2),  # a preview that will create the VM
        ({"machine_state": UNKNOWN, "credentials": UNKNOWN}, 2),
        ({"machine_state": "gone"}, 2),  # this run has created it
        ({"machine_state": "off", "status": "stopped"}, 1),
    ],
)
def test_vm_states_that_increment_the_generation(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], generation: int
) -> None:
    found = checked(monkeypatch, **news)
    assert found["generation"] == generation
    if generation == 1:
        assert found["machine_state"] == ""
    if "credentials" not in news:
        changes = NodeLifecycleProvider().diff("", OUTPUTS, found).changes
        assert changes is (generation == 2)


def test_a_new_node_has_generation_1_in_every_vm_state() -> None:
    for state in ("gone", "blank", "created", UNKNOWN):
        inputs = NodeLifecycleProvider().check({}, PROGRAM | {"machine_state": state}).inputs
        assert (inputs["generation"], inputs["machine_state"]) == (1, "")


def test_a_refresh_shows_no_change() -> None:
    """A refresh compares only values in the state and does not check the VM."""
    assert NodeLifecycleProvider().diff("", OUTPUTS, STATE).changes is False


def test_a_vm_that_exists_only_in_the_pulumi_state_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(OperationError, match="VM 8010 of castle-worker-1 is not on .*make recover"):
        checked(monkeypatch, machine_state="gone", status="")


@pytest.mark.parametrize("blank", [True, False])
def test_a_vm_that_was_off_is_checked_after_its_start(
    monkeypatch: pytest.MonkeyPatch, blank: bool
) -> None:
    monkeypatch.setattr(node_replacement, "is_in_maintenance", lambda address, limit: blank)
    assert checked(monkeypatch, machine_state="off")["generation"] == 1 + blank


@pytest.mark.parametrize(
    ("news", "with_disks"),
    [
        ({"machine_state": "gone"}, True),
        ({"machine_state": "created"}, True),
        ({"machine_state": "blank"}, False),
        ({"machine_state": "gone", "node": PROGRAM["node"] | {"retains_data_disk": True}}, False),
    ],
)
def test_the_old_node_is_removed_without_a_wait_for_the_new_one(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], with_disks: bool
) -> None:
    """The new VM gets its config later in the run, so a wait here would time out."""
    removed: list[bool] = []
    monkeypatch.setattr(
        node_replacement,
        "remove_stale_node",
        lambda props, with_disks: removed.append(with_disks),
    )

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a new VM needs no update")

    monkeypatch.setattr("lifecycle.operations.node.update_node", never)
    upgraded = PROGRAM["cluster"] | {"talos": "v1.13.10"}
    inputs = checked(monkeypatch, cluster=upgraded, installer="factory/abc:v1.13.10", **news)
    outs = NodeLifecycleProvider().update("", OUTPUTS, inputs).outs or {}
    assert removed == [with_disks]
    assert outs["generation"] == 2
    # A new VM has the new Talos. A VM that was reset still has the old one.
    is_old = news["machine_state"] == "blank"
    assert outs["cluster"]["talos"] == ("v1.13.9" if is_old else "v1.13.10")
    assert outs["installer"] == f"factory/abc:{'v1.13.9' if is_old else 'v1.13.10'}"


def test_a_new_generation_requires_talosctl_before_any_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(props: dict[str, Any]) -> None:
        raise OperationError("talosctl is not on PATH")

    monkeypatch.setattr(node_replacement, "require_tools", missing)
    checked(monkeypatch)
    with pytest.raises(OperationError, match="talosctl is not on PATH"):
        checked(monkeypatch, machine_state="blank")
