"""A machine that is made anew or has lost its config is born again; any other is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from components.node_birth import NodeBirthProvider
from upkeep import rebirth
from upkeep.errors import UpkeepError
from upkeep.power import Power

OLD: dict[str, Any] = {"node": "castle-worker-1", "machine": "8010", "births": 1}
NEW: dict[str, Any] = {
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
    "proxmox_token": "castle@pve!pulumi=secret",
    "client_key": "secret",
}


def changes(monkeypatch: pytest.MonkeyPatch, status: str = "running", **news: Any) -> bool | None:
    """Whether a preview shows a birth, where Proxmox says ``status`` of the machine."""
    monkeypatch.setattr(Power, "status", lambda _: status)
    monkeypatch.setattr(rebirth, "require_tools", lambda props: None)
    return NodeBirthProvider().diff("", OLD, NEW | news).changes


@pytest.mark.parametrize(
    ("news", "again"),
    [
        ({}, False),
        ({"client_key": "renewed", "address": "192.168.1.156"}, False),
        ({"seen": "blank"}, True),
        ({"machine": "8040"}, True),
        ({"seen": "gone", "machine": object()}, True),  # about to be made: not known yet
        ({"seen": "gone"}, True),  # made a moment ago
        ({"seen": "off", "status": "stopped"}, False),
    ],
)
def test_what_counts_as_a_birth(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], again: bool
) -> None:
    assert changes(monkeypatch, **news) is again


def test_a_machine_that_the_engine_takes_for_there_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UpkeepError, match="VM 8010 of castle-worker-1 is not on .*make recover"):
        changes(monkeypatch, seen="gone", status="")


@pytest.mark.parametrize("blank", [True, False])
def test_a_machine_that_was_off_is_looked_at_once_it_runs(
    monkeypatch: pytest.MonkeyPatch, blank: bool
) -> None:
    monkeypatch.setattr(rebirth, "wait_for_answer", lambda address, limit: blank)
    assert changes(monkeypatch, seen="off") is blank


@pytest.mark.parametrize(
    ("news", "with_disks"),
    [
        ({"seen": "gone"}, True),
        ({"seen": ""}, True),
        ({"seen": "blank"}, False),
        ({"seen": "gone", "keeps_disk": True}, False),
    ],
)
def test_births_are_counted_and_the_former_machine_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, news: dict[str, Any], with_disks: bool
) -> None:
    forgotten: list[bool] = []
    monkeypatch.setattr(
        rebirth, "forget_former", lambda props, with_disks: forgotten.append(with_disks)
    )
    provider = NodeBirthProvider()
    assert provider.create(dict(NEW)).outs == OLD
    assert provider.update("", OLD, NEW | news).outs == OLD | {"births": 2}
    assert forgotten == [with_disks]
