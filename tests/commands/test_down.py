"""``make down``: what is left in the state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clients.pulumi_cli.session import PulumiError, Session
from commands import down
from commands.orphaned_resources import OrphanedResource
from settings.groups import Endpoint
from settings.load import TOKEN
from tests.settings.test_fixtures import reference


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
    monkeypatch.setattr(FakeSession, "config", lambda _: {})
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


PROXMOX_TOKEN = "castle@pve!pulumi=5eed1e55-cafe-4bad-8bad-c0ffee123456"


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """A stack whose passphrase is lost; Proxmox has one VM of it."""
    config = json.dumps({"config": reference() | {TOKEN: {"secure": "v1:a:b"}}})
    (tmp_path / "Pulumi.homelab.yaml").write_text(config)
    session = FakeSession(tmp_path, {"resources": [{"urn": "urn:a::b"}]})

    def refuse() -> dict[str, Any]:
        raise PulumiError("pulumi config", "homelab", "error: incorrect passphrase", 1)

    monkeypatch.setattr(session, "config", refuse)
    monkeypatch.setattr("commands.running_tasks.wait_for", lambda _: None)
    session.environment.pop("PROXMOX_VE_API_TOKEN", None)
    return session


def test_a_lost_passphrase_is_explained(
    locked: FakeSession, capfd: pytest.CaptureFixture[str]
) -> None:
    assert down.down(locked, ["--yes"]) == 1
    out = capfd.readouterr().out
    assert "set PROXMOX_VE_API_TOKEN to the API token" in out and "make down" in out
    assert locked.state["deployment"]["resources"]


@pytest.mark.parametrize("answer", ["--yes", "--non-interactive"])
def test_without_the_passphrase_the_token_of_the_environment_removes_the_stack(
    locked: FakeSession,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    answer: str,
) -> None:
    locked.environment["PROXMOX_VE_API_TOKEN"] = PROXMOX_TOKEN
    removed: list[str] = []

    def find(proxmox: Endpoint, tag: str) -> list[OrphanedResource]:
        assert proxmox.api_token.get_secret_value() == PROXMOX_TOKEN
        return [OrphanedResource(f"VM 8000 of {tag}", lambda: removed.append(tag))]

    monkeypatch.setattr("commands.orphaned_resources.find_orphans", find)
    assert down.down(locked, [answer]) == (0 if answer == "--yes" else 1)
    assert removed == (["ephemeral-castle-homelab"] if answer == "--yes" else [])
    out = capfd.readouterr().out
    assert "the certificates cannot be saved" in out
    assert ("pulumi stack rm homelab --force" in out) == (answer == "--yes")
