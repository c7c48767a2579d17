"""A VM is power-cycled, whether or not its guest shuts down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from lifecycle.operations.power import Power
from tests.lifecycle.operations.fake_cluster import node_context

BASE = "/nodes/pve/qemu/8010/status/"


class Proxmox:
    """A fake Proxmox whose tasks end at once with a given status."""

    def __init__(self) -> None:
        self.status = "running"
        self.ends: dict[str, str] = {}
        """Exit status of a task, by action: reboot, stop or start."""
        self.actions: list[str] = []
        self.pending: list[dict[str, object]] = []
        self.forms: list[dict[str, str]] = []
        """The arguments of each action."""

    def __call__(
        self, path: str, method: str = "GET", form: Mapping[str, str] | None = None
    ) -> Any:
        if "/tasks/" in path:
            return {"status": "stopped", "exitstatus": self.ends.get(self.actions[-1], "OK")}
        if path == "/nodes/pve/qemu/8010/pending":
            return self.pending
        if method == "GET":
            return {"status": self.status}
        self.actions.append(path.removeprefix(BASE))
        self.forms.append(dict(form or {}))
        return "UPID:pve:0:0:0:qm:8010:root@pam:"


@pytest.fixture
def proxmox(monkeypatch: pytest.MonkeyPatch) -> Proxmox:
    found = Proxmox()
    monkeypatch.setattr(proxmox_api, "caller", lambda *_: found)
    return found


def test_a_running_vm_is_rebooted(proxmox: Proxmox) -> None:
    Power.of(node_context()).cycle()
    assert proxmox.actions == ["reboot"]
    assert proxmox.forms == [{"timeout": "600"}]  # seconds to shut down


def test_a_vm_that_is_off_is_started(proxmox: Proxmox) -> None:
    proxmox.status = "stopped"
    Power.of(node_context()).cycle()
    assert proxmox.actions == ["start"]


def test_a_vm_that_does_not_shut_down_is_stopped_and_started(proxmox: Proxmox) -> None:
    """Proxmox cancels the reboot in this case, and would cancel the next one too."""
    proxmox.ends["reboot"] = "VM quit/powerdown failed - got timeout"
    Power.of(node_context()).cycle()
    assert proxmox.actions == ["reboot", "stop", "start"]


@pytest.mark.parametrize(
    ("ends", "count", "message"),
    [
        ({"reboot": "VM is locked (backup)"}, 1, "reboot VM 8010: VM is locked"),
        ({"reboot": "VM quit/powerdown failed", "stop": "no"}, 2, "stop VM 8010: no."),
        ({"reboot": "VM quit/powerdown failed", "start": "no"}, 3, "start VM 8010: no."),
    ],
)
def test_the_error_names_the_failed_action_and_the_reason(
    proxmox: Proxmox, ends: dict[str, str], count: int, message: str
) -> None:
    proxmox.ends = ends
    with pytest.raises(OperationError, match=f"could not {message}"):
        Power.of(node_context()).cycle()
    assert len(proxmox.actions) == count


@pytest.mark.parametrize(
    ("key", "is_hardware"),
    [("cores", True), ("memory", True), ("sockets", True), ("description", False), ("net0", False)],
)
def test_only_pending_cores_and_memory_need_a_power_cycle(
    proxmox: Proxmox, key: str, is_hardware: bool
) -> None:
    proxmox.pending = [{"key": key, "value": 2, "pending": 4}, {"key": "cpu", "value": "host"}]
    assert Power.of(node_context()).has_new_hardware() is is_hardware
    proxmox.pending = [{"key": key, "value": 2}]
    assert not Power.of(node_context()).has_new_hardware()
