"""``make down``: what is left in the state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clients.pulumi_cli.session import Session
from commands import down


class FakeSession(Session):
    """A session whose CLI destroys everything, except the record of interrupted operations."""

    def __init__(self, project: Path, deployment: dict[str, Any]) -> None:
        super().__init__(project / "pulumi", "homelab", project, project)
        self.state: dict[str, Any] = {"version": 3, "deployment": deployment}

    def run(self, words: Any, more: Any = (), environment: Any = None) -> int:
        self.state["deployment"].pop("resources", None)
        return 0

    def succeeds(self, words: Any) -> bool:
        return True

    def exported(self, *, secrets: bool = False) -> dict[str, Any]:
        return dict(self.state)

    def replace_state(self, exported: Any) -> None:
        self.state = json.loads(json.dumps(exported))


@pytest.fixture(autouse=True)
def _no_proxmox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.recover.clear_killed_runs", lambda *_: 0)
    monkeypatch.setattr("commands.running_tasks.wait", lambda *_: None)
    monkeypatch.setattr("commands.backup.before_destroy", lambda *_: True)
    monkeypatch.setattr(down, "_find_unknown_vms", lambda *_: [])


@pytest.mark.parametrize("code", [0, 1])
def test_interrupted_operations_are_forgotten_if_nothing_is_left_on_proxmox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    """Otherwise the next ``up`` reports a run that did not finish (proxmox: pending creates)."""
    monkeypatch.setattr(down, "_remove_orphans", lambda *_: code)
    pending = [{"type": "creating", "resource": {"urn": "urn:a::b"}}]
    session = FakeSession(tmp_path, {"manifest": {"magic": "x"}, "pending_operations": pending})
    assert down.down(session, ["--yes"]) == code
    assert session.state["deployment"]["pending_operations"] == (pending if code else [])
    assert session.state["deployment"]["manifest"] == {"magic": "x"}
