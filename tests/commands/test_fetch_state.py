"""Importing the copy of a lost state: what is shown, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.store import BackupError
from clients.proxmox.guests import Guest, mac_address
from clients.pulumi_cli.session import Session
from commands import __main__ as commands
from commands import fetch_state
from tests.commands.conftest import Cli
from tests.commands.test_state_backup import VM, FakeStack, stack

__all__ = ["stack"]
TAG = "ephemeral-castle-homelab"
VMS = [
    VM | {"outputs": {"vmId": 8010, "name": "castle-worker-1", "nodeName": "pve"}},
    VM | {"outputs": {"vmId": 8011, "name": "castle-worker-2", "nodeName": "pve"}},
]


def guest(vm_id: int, host: str = "pve") -> Guest:
    mac = frozenset({mac_address(TAG, vm_id)})
    return Guest(vm_id, f"castle-worker-{vm_id - 8009}", host, "qemu", mac_addresses=mac)


Fetch = Callable[..., bool]


@pytest.fixture
def fetch(fake: Cli, stack: FakeStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fetch:
    """A copy of two workers was saved, then the state was lost."""
    stack.exports(*VMS)
    commands.main(["up"])
    stack.exports()

    def run(*guests: Guest, answer: str = "--yes") -> bool:
        monkeypatch.setattr(fetch_state, "list_guests", lambda *_: list(guests))
        session = Session(fake.folder / "pulumi", "homelab", tmp_path, tmp_path)
        return fetch_state.fetch_if_lost(session, [answer])

    monkeypatch.setattr(fetch_state, "decrypted", lambda exported, _: exported)
    return run


def imported(fake: Cli) -> bool:
    return any(arguments[:2] == ["stack", "import"] for arguments, _, _ in fake.calls)


def test_a_copy_of_what_runs_is_imported(
    fake: Cli, fetch: Fetch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch(guest(8010), guest(8011)) and imported(fake)
    out = capfd.readouterr().out
    assert "has a copy: number 1, saved 20" in out
    assert "with castle-worker-1, castle-worker-2." in out
    assert "OLDER" not in out
    resources = json.loads((tmp_path / "state.json").read_text())["deployment"]["resources"]
    assert resources[1:] == VMS


def test_an_older_copy_is_named_before_the_question(
    fake: Cli, fetch: Fetch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not fetch(guest(8010, "pve2"), guest(8012), answer="--non-interactive")
    assert not imported(fake)
    out = capfd.readouterr().out
    assert "castle-worker-3 (VM 8012 on pve) is not in the copy" in out
    assert "castle-worker-2 (VM 8011) is not on Proxmox any more" in out
    assert "castle-worker-1 (VM 8010) is on pve2 now, not on pve" in out
    assert out.index("It is OLDER than what runs") < out.index("Import the copy?")


def test_a_state_with_resources_is_not_replaced(fake: Cli, fetch: Fetch, stack: FakeStack) -> None:
    stack.exports(VM)
    assert fetch() and not imported(fake)


def test_after_a_down_there_is_nothing_to_import(
    fake: Cli, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(commands.COMMANDS, "down", lambda session, _: session.run(["destroy"]))
    commands.main(["down"])
    assert fetch() and not imported(fake)


def test_a_damaged_copy_is_an_error(fetch: Fetch, stack: FakeStack) -> None:
    (stack.store / "homelab-state.age").write_bytes(b"damaged")
    with pytest.raises(BackupError, match="homelab-state.age was encrypted for another key, or is"):
        fetch()
