"""Which states of VMs and of the Pulumi state count as a lost state."""

from __future__ import annotations

import pulumi
import pytest

from clients.proxmox.guests import Guest, mac_address
from clients.talos import machine_api
from lifecycle.node import MachineState
from preflight.lost_state import refuse_lost_state
from settings.running import RunningMachine, RunningStack
from tests.recorder import settings_with

TAG = "ephemeral-castle-homelab"
MAC = mac_address(TAG, 8010)
NAME = "castle-worker-1"
EMPTY = RunningStack()
FIRST_UP = RunningStack(has_resources=True)
"""A first ``up`` that was killed before its machine secrets existed."""


def refuse(state: MachineState, running: RunningStack, mac: str = MAC) -> None:
    """Check a stack of which one VM exists."""
    guest = Guest(8010, NAME, "pve", "qemu", frozenset({TAG}), mac_addresses=frozenset({mac}))
    refuse_lost_state(settings_with(running=running), [guest], {NAME: state})


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool | None]:
    """What the worker's address answers: in maintenance, with a machine config (False), or not."""
    found: dict[str, bool | None] = {"192.168.1.155": None}
    monkeypatch.setattr(machine_api, "is_unconfigured", lambda address: found[address])
    return found


@pytest.mark.parametrize("running", [EMPTY, FIRST_UP])
def test_a_configured_node_without_machine_secrets_is_refused(
    answer: dict[str, bool | None], running: RunningStack
) -> None:
    answer["192.168.1.155"] = False
    with pytest.raises(pulumi.RunError) as refused:
        refuse("", running)
    text = str(refused.value)
    assert "The Pulumi state of the stack homelab is lost" in text
    assert "  - castle-worker-1 (VM 8010 on pve)\n" in text
    assert "copy the folder .state/" in text and "`make down`" in text
    assert text.endswith("Nothing has been touched.")


@pytest.mark.parametrize("state", ["", "off"])
def test_an_unreachable_vm_is_refused_if_the_state_is_empty(
    answer: dict[str, bool | None], state: MachineState
) -> None:
    """A VM is created after the image, so the state of a killed run is not empty."""
    with pytest.raises(pulumi.RunError, match=NAME):
        refuse(state, EMPTY)
    refuse(state, FIRST_UP)


@pytest.mark.parametrize("state", ["gone", "blank", "created"])
def test_a_vm_without_a_machine_config_is_adopted(state: MachineState) -> None:
    refuse(state, EMPTY)
    refuse(state, FIRST_UP)


def test_a_killed_first_up_with_machine_secrets_continues() -> None:
    refuse("", RunningStack(has_resources=True, has_machine_secrets=True))


def test_a_vm_in_the_state_is_known(answer: dict[str, bool | None]) -> None:
    """A killed ``make down`` deletes the machine secrets before the VMs."""
    answer["192.168.1.155"] = False
    known = RunningMachine(name=NAME, vm_id=8010)
    refuse("", RunningStack(has_resources=True, machines={NAME: known}))


def test_a_vm_of_somebody_else_is_not_a_node(answer: dict[str, bool | None]) -> None:
    """A clone of a VM of the stack has its tag, but another MAC address."""
    refuse("", EMPTY, "02:00:00:00:00:01")
