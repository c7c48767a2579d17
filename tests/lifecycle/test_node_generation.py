"""The generation of a node: a machine that was replaced, or lost its config, is a new one."""

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
        "vm_id": 8010.0,  # the engine passes every number as a float
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
"""What the program passes."""
STATE = NodeLifecycleProvider().check({}, PROGRAM | {"machine_state": "gone"}).inputs
"""The inputs that the first `up` left: no machine was there when it looked."""
OUTPUTS = NodeLifecycleProvider().create(dict(STATE)).outs or {}


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_replacement, "require_tools", lambda props: None)


def checked(
    monkeypatch: pytest.MonkeyPatch, status: str = "running", **news: Any
) -> dict[str, Any]:
    """The inputs that a run makes, if Proxmox says ``status`` of the machine."""
    monkeypatch.setattr(Power, "status", lambda _: status)
    return NodeLifecycleProvider().check(STATE, PROGRAM | news).inputs


@pytest.mark.parametrize(
    ("news", "generation"),
    [
        ({}, 1),
        ({"credentials": PROGRAM["credentials"] | {"client_key": "renewed"}}, 1),
        ({"machine_state": "blank"}, 2),
        ({"machine_state": "created"}, 2),  # also if it has the VM id of the one before
        ({"machine_state": UNKNOWN}, 2),  # a preview: about to be created
        ({"machine_state": UNKNOWN, "credentials": UNKNOWN}, 2),
        ({"machine_state": "gone"}, 2),  # created a moment ago
        ({"machine_state": "off", "status": "stopped"}, 1),
    ],
)
def test_what_is_a_new_generation(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], generation: int
) -> None:
    found = checked(monkeypatch, **news)
    assert found["generation"] == generation
    if generation == 1:
        assert found["machine_state"] == ""
    if "credentials" not in news:
        changes = NodeLifecycleProvider().diff("", OUTPUTS, found).changes
        assert changes is (generation == 2)


def test_a_new_node_is_the_first_generation_whatever_its_machine_is() -> None:
    for state in ("gone", "blank", "created", UNKNOWN):
        inputs = NodeLifecycleProvider().check({}, PROGRAM | {"machine_state": state}).inputs
        assert (inputs["generation"], inputs["machine_state"]) == (1, "")


def test_a_refresh_sees_no_change() -> None:
    """The engine compares what it has with what it has then: nobody looks at a machine."""
    assert NodeLifecycleProvider().diff("", OUTPUTS, STATE).changes is False


def test_a_machine_that_only_the_engine_believes_in_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(OperationError, match="VM 8010 of castle-worker-1 is not on .*make recover"):
        checked(monkeypatch, machine_state="gone", status="")


@pytest.mark.parametrize("blank", [True, False])
def test_a_machine_that_was_off_is_asked_once_it_runs(
    monkeypatch: pytest.MonkeyPatch, blank: bool
) -> None:
    monkeypatch.setattr(node_replacement, "wait_for_answer", lambda address, limit: blank)
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
def test_the_former_machine_is_removed_and_the_new_one_is_not_awaited(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], with_disks: bool
) -> None:
    """Its config comes only after the whole chain: waiting for it here would wait in vain."""
    forgotten: list[bool] = []
    monkeypatch.setattr(
        node_replacement,
        "remove_stale_node",
        lambda props, with_disks: forgotten.append(with_disks),
    )

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a new machine is neither upgraded nor awaited")

    monkeypatch.setattr("lifecycle.operations.node.update_node", never)
    upgraded = PROGRAM["cluster"] | {"talos": "v1.13.10"}
    inputs = checked(monkeypatch, cluster=upgraded, installer="factory/abc:v1.13.10", **news)
    outs = NodeLifecycleProvider().update("", OUTPUTS, inputs).outs or {}
    assert forgotten == [with_disks]
    assert outs["generation"] == 2
    # A machine that was created has the new Talos; one that was reset has what is on its disk.
    is_old = news["machine_state"] == "blank"
    assert outs["cluster"]["talos"] == ("v1.13.9" if is_old else "v1.13.10")
    assert outs["installer"] == f"factory/abc:{'v1.13.9' if is_old else 'v1.13.10'}"


def test_talosctl_is_asked_for_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(props: dict[str, Any]) -> None:
        raise OperationError("talosctl is not on PATH")

    monkeypatch.setattr(node_replacement, "require_tools", missing)
    checked(monkeypatch)
    with pytest.raises(OperationError, match="talosctl is not on PATH"):
        checked(monkeypatch, machine_state="blank")
