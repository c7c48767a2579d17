"""VMs in the state whose VM id belongs to somebody else, or that were moved to another host."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from clients.proxmox.guests import Guest, mac_address
from clients.pulumi_cli.session import Session
from commands import vms_in_state
from settings.groups import Endpoint
from settings.resource_types import MACHINE

TAG = "ephemeral-castle-homelab"
OTHER_MAC = frozenset({"BC:24:11:00:00:01"})
NAS = Guest(8010, "precious-nas", "pve", "qemu", mac_addresses=OTHER_MAC)
CHANGED = Guest(8010, "castle-worker-1", "pve", "qemu", frozenset({TAG}), mac_addresses=OTHER_MAC)
OURS = Guest(8010, "renamed", "pve", "qemu", mac_addresses=frozenset({mac_address(TAG, 8010)}))
VM = {
    "urn": "urn:vm",
    "type": MACHINE,
    "inputs": {"name": "castle-worker-1", "nodeName": "pve"},
    "outputs": {"vmId": 8010, "nodeName": "pve"},
}
PROVIDER = {
    "urn": "urn:provider",
    "type": "pulumi:providers:proxmoxve",
    "inputs": {
        "endpoint": "https://pve:8006",
        "insecure": "true",
        "apiToken": {"plaintext": json.dumps("castle@pve!pulumi=the-token")},
    },
}


class FakeSession(Session):
    """A session with a state in memory. It records the commands of the CLI."""

    def __init__(self, *resources: dict[str, Any]) -> None:
        self.stack = "homelab"
        self.state: dict[str, Any] = {"version": 3, "deployment": {"resources": list(resources)}}
        self.commands: list[Any] = []

    def run(self, words: Any, more: Any = (), environment: Any = None) -> int:
        self.commands.append([*words, *more])
        return 0

    def exported(self, *, secrets: bool = False) -> dict[str, Any]:
        return dict(self.state)

    def resources(self, *, secrets: bool = False) -> list[dict[str, Any]]:
        return list(self.state["deployment"]["resources"])

    def replace_state(self, exported: Any) -> None:
        self.state = dict(exported)


class Proxmox:
    """A fake Proxmox with some guests and the pool of the stack. It records changes."""

    def __init__(self, guests: list[Guest]) -> None:
        self.guests = guests
        self.endpoints: list[Endpoint] = []
        self.changes: list[tuple[str, str, Any]] = []

    def list_guests(self, proxmox: Endpoint, wanted: Iterable[int] | None = None) -> list[Guest]:
        self.endpoints.append(proxmox)
        return self.guests

    def call(self, path: str, method: str = "GET", form: Any = None) -> Any:
        if method != "GET":
            self.changes.append((method, path, form))
        return [{"poolid": "castle", "comment": f"Machines of {TAG}"}, {"poolid": "house"}]


@pytest.fixture
def proxmox(monkeypatch: pytest.MonkeyPatch) -> Proxmox:
    found = Proxmox([NAS])
    monkeypatch.setattr(vms_in_state, "list_guests", found.list_guests)
    monkeypatch.setattr("clients.proxmox.api.caller", lambda endpoint: found.call)
    return found


def test_a_vm_of_the_stack_is_not_foreign(proxmox: Proxmox) -> None:
    proxmox.guests = [OURS]
    session = FakeSession(PROVIDER, VM)
    assert vms_in_state.refresh(session, ["--yes"]) == 0
    assert session.commands == [["refresh", "--yes"]]
    assert vms_in_state.release(session, [], for_destroy=False)
    # The access is that of the last `up`, so that it works with a broken stack file.
    (endpoint, *_) = proxmox.endpoints
    assert endpoint.api_token.get_secret_value() == "castle@pve!pulumi=the-token"
    assert endpoint.insecure is True


@pytest.mark.parametrize("guest", [NAS, CHANGED], ids=lambda it: it.name)
def test_a_refresh_is_refused(
    proxmox: Proxmox, guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    proxmox.guests = [guest]
    session = FakeSession(PROVIDER, VM)
    assert vms_in_state.refresh(session, ["--yes"]) == 1
    assert session.commands == []
    assert f"'{guest.name}'" in capsys.readouterr().out


def test_the_vm_is_removed_from_the_state_and_the_other_machine_is_left_alone(
    proxmox: Proxmox, capsys: pytest.CaptureFixture[str]
) -> None:
    session = FakeSession(PROVIDER, VM)
    assert not vms_in_state.release(session, ["--non-interactive"], for_destroy=False)
    assert VM in session.resources()
    assert vms_in_state.release(session, ["--yes"], for_destroy=False)
    assert session.resources() == [PROVIDER]
    assert proxmox.changes == []
    out = capsys.readouterr().out
    assert (
        "VM id 8010 of castle-worker-1: remove castle-worker-1 from the Pulumi state, and leave "
        "'precious-nas' on pve alone" in out
    )


def test_only_a_destroy_goes_on_with_a_vm_whose_mac_address_was_changed(
    proxmox: Proxmox, capsys: pytest.CaptureFixture[str]
) -> None:
    proxmox.guests = [CHANGED]
    session = FakeSession(PROVIDER, VM)
    assert not vms_in_state.release(session, ["--yes"], for_destroy=False)
    assert f"back to {mac_address(TAG, 8010)}" in capsys.readouterr().out
    assert VM in session.resources()
    assert vms_in_state.release(session, ["--yes"], for_destroy=True)
    assert session.resources() == [PROVIDER]


def test_a_destroy_takes_machines_of_others_out_of_the_pool_of_the_stack(
    proxmox: Proxmox,
) -> None:
    in_pool = Guest(8050, "clone", "pve", "qemu", pool="castle", mac_addresses=OTHER_MAC)
    in_other_pool = Guest(8051, "nas", "pve", "qemu", pool="house", mac_addresses=OTHER_MAC)
    silent = Guest(8052, "", "pve3", "qemu", pool="castle")
    proxmox.guests = [in_pool, in_other_pool, silent, OURS]
    vms_in_state.take_others_out_of_pool(FakeSession(PROVIDER, VM))
    form = {"poolid": "castle", "vms": "8050", "delete": "1"}
    assert proxmox.changes == [("PUT", "/pools", form)]


def test_without_a_provider_in_the_state_nothing_is_asked(proxmox: Proxmox) -> None:
    assert vms_in_state.release(FakeSession(), [], for_destroy=True)
    assert proxmox.endpoints == []


def test_a_vm_that_was_moved_by_hand_gets_its_new_host_in_the_state(
    proxmox: Proxmox, capsys: pytest.CaptureFixture[str]
) -> None:
    proxmox.guests = [replace(OURS, host="pve2")]
    session = FakeSession(PROVIDER, VM)
    assert vms_in_state.prepare_up(session) == 0
    (_, vm) = session.resources()
    assert vm["inputs"]["nodeName"] == vm["outputs"]["nodeName"] == "pve2"
    assert "castle-worker-1 was moved to pve2" in capsys.readouterr().out


@pytest.mark.parametrize("guest", [replace(NAS, host="pve2"), replace(CHANGED, host="pve2")])
def test_the_machine_of_somebody_else_is_no_moved_vm(proxmox: Proxmox, guest: Guest) -> None:
    proxmox.guests = [guest]
    session = FakeSession(PROVIDER, VM)
    assert vms_in_state.prepare_up(session) == 0
    assert session.resources() == [PROVIDER, VM]


@pytest.mark.parametrize(
    ("guest", "started"),
    [
        (OURS, False),
        (replace(OURS, is_running=True), True),
        (replace(OURS, has_unknown_status=True), True),
    ],
)
def test_a_vm_that_is_off_is_started_by_the_next_up(
    proxmox: Proxmox, guest: Guest, started: bool
) -> None:
    proxmox.guests = [guest]
    outputs = {"vmId": 8010, "nodeName": "pve", "started": True}
    session = FakeSession(PROVIDER, VM | {"outputs": outputs})
    vms_in_state.refresh(session, [])
    assert session.resources()[1]["outputs"]["started"] is True
    assert vms_in_state.prepare_up(session) == 0
    assert session.resources()[1]["outputs"]["started"] is started
