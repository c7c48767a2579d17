"""A machine is power-cycled, whether or not its guest listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from lifecycle.operations.power import Power

PROPS = {
    "proxmox_endpoint": "https://192.168.1.10:8006",
    "proxmox_insecure": False,
    "proxmox_token": "castle@pve!pulumi=11111111-2222-3333-4444-555555555555",
    "host": "pve",
    "vm_id": 8010.0,
}
BASE = "/nodes/pve/qemu/8010/status/"


class Proxmox:
    """A Proxmox whose tasks end as is said, at once."""

    def __init__(self) -> None:
        self.status = "running"
        self.ends: dict[str, str] = {}
        """By the last word of a request: what its task ends with."""
        self.asked: list[str] = []
        self.guests: list[dict[str, str]] = []

    def __call__(
        self, path: str, method: str = "GET", form: Mapping[str, str] | None = None
    ) -> Any:
        if path == "/cluster/resources?type=vm":
            return self.guests
        if "/tasks/" in path:
            return {"status": "stopped", "exitstatus": self.ends.get(self.asked[-1], "OK")}
        if method == "GET":
            return {"status": self.status}
        self.asked.append(path.removeprefix(BASE))
        return "UPID:pve:0:0:0:qm:8010:root@pam:"


@pytest.fixture
def proxmox(monkeypatch: pytest.MonkeyPatch) -> Proxmox:
    found = Proxmox()
    monkeypatch.setattr(proxmox_api, "caller", lambda *_: found)
    return found


def test_a_guest_that_listens_is_rebooted(proxmox: Proxmox) -> None:
    Power.of(PROPS).cycle()
    assert proxmox.asked == ["reboot"]


def test_a_machine_that_is_off_is_started(proxmox: Proxmox) -> None:
    proxmox.status = "stopped"
    Power.of(PROPS).cycle()
    assert proxmox.asked == ["start"]


def test_from_a_guest_that_does_not_listen_the_power_is_taken(proxmox: Proxmox) -> None:
    """Proxmox gives a reboot up, and would the next time."""
    proxmox.ends["reboot"] = "VM quit/powerdown failed - got timeout"
    Power.of(PROPS).cycle()
    assert proxmox.asked == ["reboot", "stop", "start"]


@pytest.mark.parametrize(
    ("ends", "asked", "words"),
    [
        ({"reboot": "VM is locked (backup)"}, 1, "reboot VM 8010: VM is locked"),
        ({"reboot": "VM quit/powerdown failed", "stop": "no"}, 2, "stop VM 8010: no."),
        ({"reboot": "VM quit/powerdown failed", "start": "no"}, 3, "start VM 8010: no."),
    ],
)
def test_what_proxmox_refuses_is_told(
    proxmox: Proxmox, ends: dict[str, str], asked: int, words: str
) -> None:
    proxmox.ends = ends
    with pytest.raises(OperationError, match=f"could not {words}"):
        Power.of(PROPS).cycle()
    assert len(proxmox.asked) == asked


def test_what_runs_of_a_castle_is_known_by_its_tag(proxmox: Proxmox) -> None:
    proxmox.guests = [
        {"name": "cp-1", "status": "running", "tags": "a-castle;talos"},
        {"name": "cp-2", "status": "stopped", "tags": "a-castle,talos"},
        {"name": "cp-3", "status": "running", "tags": "a-castle-2"},
        {"name": "nas", "status": "running"},
    ]
    assert Power.of(PROPS).running("a-castle") == {"cp-1"}
