"""A machine that is made anew or has lost its config is born again; any other is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from components.node_birth import NodeBirthProvider
from upkeep import rebirth
from upkeep.errors import UpkeepError
from upkeep.power import Power

PROGRAM: dict[str, Any] = {
    "node": "castle-worker-1",
    "address": "192.168.1.155",
    "host": "pve",
    "vm_id": 8010.0,  # all numbers come so from the engine
    "machine": "8010",
    "keeps_disk": False,
    "seen": "",
    "births": None,
    "proxmox_endpoint": "https://192.168.1.10:8006",
    "proxmox_insecure": False,
    "proxmox_token": "castle@pve!pulumi=11111111-2222-3333-4444-555555555555",
    "client_key": "secret",
}
"""What the program hands over."""
STATE = NodeBirthProvider().check({}, PROGRAM | {"seen": "gone"}).inputs
"""What the first `up` left: nobody was there when it looked."""


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebirth, "require_tools", lambda props: None)


def checked(
    monkeypatch: pytest.MonkeyPatch, status: str = "running", **news: Any
) -> dict[str, Any]:
    """What a run makes of what it saw, where Proxmox says ``status`` of the machine."""
    monkeypatch.setattr(Power, "status", lambda _: status)
    return NodeBirthProvider().check(STATE, PROGRAM | news).inputs


@pytest.mark.parametrize(
    ("news", "births"),
    [
        ({}, 1),
        ({"client_key": "renewed", "address": "192.168.1.156"}, 1),
        ({"seen": "blank"}, 2),
        ({"machine": "8040"}, 2),
        ({"seen": "gone", "machine": "not known yet"}, 2),  # a preview: about to be made
        ({"seen": "gone"}, 2),  # made a moment ago
        ({"seen": "off", "status": "stopped"}, 1),
    ],
)
def test_what_counts_as_a_birth(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], births: int
) -> None:
    found = checked(monkeypatch, **news)
    assert found["births"] == births
    outputs = NodeBirthProvider().create(dict(STATE)).outs
    assert NodeBirthProvider().diff("", outputs or {}, found).changes is (births == 2)


def test_a_refresh_sees_no_change() -> None:
    """The engine compares what it has with what it has then: nobody looks at a machine."""
    outputs = NodeBirthProvider().create(dict(STATE)).outs
    assert NodeBirthProvider().diff("", outputs or {}, STATE).changes is False
    assert "seen" not in STATE


def test_a_machine_that_the_engine_takes_for_there_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UpkeepError, match="VM 8010 of castle-worker-1 is not on .*make recover"):
        checked(monkeypatch, seen="gone", status="")


@pytest.mark.parametrize("blank", [True, False])
def test_a_machine_that_was_off_is_looked_at_once_it_runs(
    monkeypatch: pytest.MonkeyPatch, blank: bool
) -> None:
    monkeypatch.setattr(rebirth, "wait_for_answer", lambda address, limit: blank)
    assert checked(monkeypatch, seen="off")["births"] == 1 + blank


@pytest.mark.parametrize(
    ("news", "with_disks"),
    [
        ({"seen": "gone"}, True),
        ({"machine": "8040"}, True),
        ({"seen": "blank"}, False),
        ({"seen": "gone", "keeps_disk": True}, False),
    ],
)
def test_the_former_machine_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], with_disks: bool
) -> None:
    forgotten: list[bool] = []
    monkeypatch.setattr(
        rebirth, "forget_former", lambda props, with_disks: forgotten.append(with_disks)
    )
    outs = NodeBirthProvider().update("", {"births": 1}, checked(monkeypatch, **news)).outs
    assert outs == {"node": "castle-worker-1", "births": 2}
    assert forgotten == [with_disks]


def test_talosctl_is_asked_for_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(props: dict[str, Any]) -> None:
        raise UpkeepError("talosctl is not on PATH")

    monkeypatch.setattr(rebirth, "require_tools", missing)
    checked(monkeypatch)
    with pytest.raises(UpkeepError, match="talosctl is not on PATH"):
        checked(monkeypatch, seen="blank")
