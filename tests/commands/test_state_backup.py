"""Copies of the Pulumi state in the backup store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyrage
import pytest

from commands import __main__ as commands
from commands import state_backup
from components.traefik import certificate_backup
from settings import stack_file
from settings.load import TOKEN
from settings.resource_types import MACHINE
from tests.commands.conftest import Cli
from tests.settings.test_fixtures import reference

KEY = str(pyrage.x25519.Identity.generate())
VM = {"urn": "urn:x::castle-worker-1", "type": MACHINE, "outputs": {"vmId": 8010}}
SECRET = {"4dabf18193072939515e22adb298388d": "1b47", "ciphertext": "v1:a:b"}
EXPORT = ["stack", "export"]


class FakeStack:
    """A stack with an age key, whose state the fake CLI exports."""

    def __init__(self, fake: Cli, project: Path) -> None:
        self._fake = fake
        self.store = project / "kept"
        config = reference() | {TOKEN: "castle@pve!pulumi=5eed1e55-cafe-4bad-8bad-c0ffee123456"}
        config["ephemeral-castle:sops"] = {"age_key": KEY}
        config["ephemeral-castle:traefik"]["acme"]["backup"] = {"target": str(self.store)}
        (project / "Pulumi.homelab.yaml").write_text(json.dumps({"config": config}))
        (project / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
        fake.answers("config --json", {k: {"value": v, "secret": True} for k, v in texts.items()})
        self.exports(VM)

    def exports(self, *resources: Any, time: str = "now") -> None:
        """Set the state."""
        stack = {"urn": "urn:s", "type": "pulumi:pulumi:Stack", "outputs": {"kubeconfig": SECRET}}
        deployment = {"manifest": {"time": time}, "resources": [stack, *resources]}
        self._fake.answers("stack export", {"version": 3, "deployment": deployment})

    def copies(self) -> list[str]:
        """The names of the files in the store."""
        return sorted(it.name for it in self.store.iterdir()) if self.store.exists() else []

    def newest(self) -> state_backup.StateCopy:
        sealed = (self.store / "homelab-state.age").read_bytes()
        return state_backup.StateCopy.from_bytes(certificate_backup.unseal(sealed, KEY))


@pytest.fixture
def stack(fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStack:
    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr("clients.pulumi_cli.session.PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr("commands.backup.after_up", lambda _: None)
    monkeypatch.setattr("doctor.storage_record.after_up", lambda *_: None)
    monkeypatch.setattr(commands, "recover_if_needed", lambda *_: 0)
    return FakeStack(fake, tmp_path)


@pytest.mark.parametrize("code", [0, 1])
def test_an_up_saves_an_encrypted_copy_also_if_it_fails(
    fake: Cli, stack: FakeStack, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.answers("up", code=code)
    assert commands.main(["up", "--", "--yes"]) == code
    out = capfd.readouterr().out
    assert f"Saved an encrypted copy of the Pulumi state: {stack.store}/homelab-state.age" in out
    copy = stack.newest()
    assert copy.serial == 1 and copy.has_resources
    assert [vm.vm_id for vm in copy.stack.machines.values()] == [8010]
    assert (
        SECRET
        in json.loads(copy.to_bytes())["exported"]["deployment"]["resources"][0]["outputs"].values()
    )
    # One export after the engine.
    calls = [arguments[:2] for arguments, _, _ in fake.calls]
    assert calls[calls.index(["up", "--stack"]) :].count(EXPORT) == 1


def test_only_a_changed_state_is_saved_again(stack: FakeStack) -> None:
    commands.main(["up"])
    stack.exports(VM, time="later")
    commands.main(["up"])
    assert stack.copies() == ["homelab-state.age"]
    stack.exports(VM, VM | {"urn": "urn:x::other"})
    commands.main(["up"])
    assert stack.copies() == ["homelab-state.1.age", "homelab-state.age"]
    assert stack.newest().serial == 2


def test_an_empty_state_replaces_a_copy_only_after_a_down(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a new computer a refused ``up`` must not replace the copy of the lost state."""
    monkeypatch.setitem(commands.COMMANDS, "down", lambda session, _: session.run(["destroy"]))
    stack.exports()
    commands.main(["down"])
    assert stack.copies() == []
    stack.exports(VM)
    commands.main(["up"])
    stack.exports()
    for command in ("up", "refresh"):
        commands.main([command])
    assert stack.newest().has_resources
    commands.main(["down"])
    assert not stack.newest().has_resources and stack.newest().serial == 2


def test_a_failed_copy_is_a_warning(stack: FakeStack, capfd: pytest.CaptureFixture[str]) -> None:
    stack.store.write_text("a file, not a folder")
    assert commands.main(["up"]) == 0
    out = capfd.readouterr().out
    assert "No copy of the Pulumi state could be saved: " in out
    assert "The next `make up` tries again." in out


def test_a_copy_for_another_age_key_is_kept_as_an_older_one(stack: FakeStack) -> None:
    commands.main(["up"])
    other = str(pyrage.x25519.Identity.generate())
    sealed = certificate_backup.seal(b"x", other)
    (stack.store / "homelab-state.age").write_bytes(sealed)
    commands.main(["up"])
    assert stack.newest().serial == 1
    assert (stack.store / "homelab-state.1.age").read_bytes() == sealed


def test_without_an_age_key_no_setting_is_decrypted(
    fake: Cli, stack: FakeStack, tmp_path: Path
) -> None:
    file = stack_file.find("homelab", tmp_path)
    config = json.loads(file.read_text())["config"]
    del config["ephemeral-castle:sops"]
    file.write_text(json.dumps({"config": config}))
    assert commands.main(["up"]) == 0
    assert stack.copies() == []
    assert "config" not in [arguments[0] for arguments, _, _ in fake.calls]
