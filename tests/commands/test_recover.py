"""What `make up`, `make recover` and `make down` do after a run that did not come to its end."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clients.pulumi_cli import session
from commands import __main__ as engine
from commands import last_up
from commands.orphaned_resources import OrphanedResource, OrphanSearchError
from commands.recover import BUSY
from tests.commands.conftest import Cli

LOCK = "state/.pulumi/locks/organization/ephemeral-castle/homelab/uuid.json"
VM = {
    "urn": "urn:pulumi:homelab::ephemeral-castle::proxmoxve:index/vmLegacy:VmLegacy::machines-a",
    "type": "proxmoxve:index/vmLegacy:VmLegacy",
}


@pytest.fixture(autouse=True)
def _a_project_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of the machine is in its folder."""
    for module in (engine, session):
        monkeypatch.setattr(module, "PROJECT_FOLDER", tmp_path)
    for name in ("recover", "down"):
        monkeypatch.setattr(f"commands.{name}.PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")


def state(fake: Cli, *resources: dict[str, Any], pending: tuple[dict[str, Any], ...] = ()) -> None:
    deployment = {"resources": resources, "pending_operations": pending}
    fake.answers("stack export", {"version": 3, "deployment": deployment})
    fake.answers("config --json", code=1)  # so nobody asks Proxmox what else there is


def lock(tmp_path: Path, host: str = "") -> Path:
    file = tmp_path / LOCK
    file.parent.mkdir(parents=True)
    content = {"pid": 2**22 + 1, "hostname": host or socket.gethostname(), "username": "me"}
    file.write_text(json.dumps(content))
    return file


def test_an_up_after_a_good_one_is_only_an_up(fake: Cli) -> None:
    state(fake, VM)
    assert engine.main(["up", "--", "--yes"]) == 0
    assert fake.words == ["up --stack homelab --yes --skip-preview"]


UP = "up --stack homelab --yes --skip-preview"
REFRESH = "refresh --clear-pending-creates --stack homelab --yes"


@pytest.mark.parametrize("half_made", [True, False])
def test_an_up_after_a_bad_one_looks_first(
    fake: Cli, half_made: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if half_made:
        state(fake, VM | {"initErrors": ["resize failed"]})
    else:
        state(fake, pending=({"type": "creating", "resource": VM},))
    fake.answers("preview --json", {"steps": []})
    assert engine.main(["up", "--", "--yes"]) == 0
    assert fake.words == [REFRESH, "up --stack homelab --yes --skip-preview"]
    words = "not made to its end: machines-a" if half_made else "what became of machines-a"
    assert words in capfd.readouterr().out


def failed(tmp_path: Path) -> None:
    """The record of an ``up`` that failed."""
    record = last_up.file(tmp_path, "homelab")
    record.parent.mkdir()
    last = last_up.LastUp(begun=1, seconds=1, succeeded=False, operations=())
    record.write_text(json.dumps(asdict(last)))


def test_an_up_that_failed_is_looked_after_once(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failed(tmp_path)
    state(fake, VM)
    fake.answers("preview --json", {"steps": []})
    # The second has nothing to change, so it leaves the record of the failure as it is.
    for _ in range(2):
        assert engine.main(["up", "--", "--yes"]) == 0
    assert fake.words == [REFRESH, UP, UP]
    assert "The last run did not come to its end" in capfd.readouterr().out


def test_what_is_meant_for_the_up_does_not_reach_the_look_before_it(
    fake: Cli, tmp_path: Path
) -> None:
    failed(tmp_path)
    state(fake, VM)
    fake.answers("preview --json", {"steps": []})
    assert engine.main(["up", "--", "--replace", "x", "--yes"]) == 0
    assert fake.words == [REFRESH, "up --stack homelab --yes --skip-preview --replace x"]


def test_after_a_castle_is_gone_its_failure_is_nobodys_matter(fake: Cli, tmp_path: Path) -> None:
    failed(tmp_path)
    state(fake)
    engine.main(["down", "--", "--yes"])
    engine.main(["up", "--", "--yes"])
    assert fake.words == [QUIET, DESTROY, UP]


@pytest.mark.parametrize("words", ["--target x", "-t x", "-x x"])
def test_where_a_part_goes_nobody_is_asked_for_unknown_machines(fake: Cli, words: str) -> None:
    state(fake, VM)
    assert engine.main(["down", "--", *words.split()]) == 0
    assert fake.words == [QUIET, f"destroy --stack homelab {words}"]
    assert not any(arguments[0] == "config" for arguments, _, _ in fake.calls)


def test_a_look_at_what_would_go_changes_nothing(fake: Cli, tmp_path: Path) -> None:
    file = lock(tmp_path)
    state(fake, VM)
    fake.does("sys.exit(1 if '--expect-no-changes' in arguments else 0)")
    assert engine.main(["down", "--", "--preview-only", "--yes"]) == 0
    assert fake.words == ["destroy --stack homelab --preview-only --yes"]
    assert file.exists()


def test_a_lock_is_told_and_taken_away_before_the_engine_begins(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = lock(tmp_path)
    state(fake)
    fake.answers("preview --json", {"steps": []})
    assert engine.main(["recover", "--", "--yes"]) == 0
    assert not file.exists()
    assert fake.words == [REFRESH]
    out = capfd.readouterr().out
    assert "a lock of process" in out
    assert out.rstrip().endswith("Recovered: go on with `make up`, or `make down`.")


def test_without_a_yes_and_without_a_person_nothing_is_done(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = lock(tmp_path)
    for word in ("recover", "up", "down"):
        assert engine.main([word]) == 1
        assert "say yes with ARGS=--yes" in capfd.readouterr().out
    assert file.exists()
    assert fake.words == []


def test_a_run_that_is_at_work_stops_all_three(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lock(tmp_path)
    monkeypatch.setattr("commands.stale_processes.Lock.is_alive", True)
    for word in ("recover", "up", "down", "cancel"):
        assert engine.main([word, "--", "--yes"]) == BUSY
        assert "Another run is at work" in capfd.readouterr().out
    assert fake.words == []


def test_a_yes_does_not_answer_for_a_run_on_another_machine(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = lock(tmp_path, "laptop")
    for word in ("recover", "up", "down", "cancel"):
        assert engine.main([word, "--", "--yes"]) == 1
        out = capfd.readouterr().out
        assert "does not answer for a run on laptop. See that none is at work there, then" in out
        assert str(file) in out
    assert file.exists()
    assert fake.words == []


def test_a_person_may_answer_for_a_run_on_another_machine(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lock(tmp_path, "laptop")
    state(fake)
    fake.answers("preview --json", {"steps": []})
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert engine.main(["cancel", "--", "--yes"]) == 0
    assert fake.words == ["cancel --stack homelab --yes"]
    assert engine.main(["recover", "--", "--yes"]) == 0
    assert not file.exists()


@pytest.mark.parametrize("stops", [KeyboardInterrupt, EOFError])
def test_a_question_that_is_not_answered_ends_it_without_a_traceback(
    fake: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    stops: type[BaseException],
) -> None:
    def stop(_: str) -> str:
        raise stops

    file = lock(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", stop)
    assert engine.main(["recover"]) == 130
    assert capfd.readouterr().err.endswith("Stopped.\n")
    assert file.exists()


def test_why_a_preview_fails_is_shown(fake: Cli, capfd: pytest.CaptureFixture[str]) -> None:
    """Asked for JSON, the CLI says it on its output, and nothing beside it."""
    state(fake, VM | {"initErrors": ["resize failed"]})
    fake.answers("preview", "error: VM id 8000 is taken", code=255)
    assert engine.main(["up", "--", "--yes"]) == 1
    assert fake.words == [REFRESH]
    assert "A preview says why:\nerror: VM id 8000 is taken" in capfd.readouterr().out


def test_a_refresh_that_fails_ends_it(fake: Cli) -> None:
    state(fake, VM | {"initErrors": ["resize failed"]})
    fake.answers("refresh", code=255)
    assert engine.main(["up", "--", "--yes"]) == 255
    assert fake.words == [REFRESH]


def test_a_dead_cluster_is_not_looked_at(fake: Cli, capfd: pytest.CaptureFixture[str]) -> None:
    state(fake, VM | {"initErrors": ["x"]}, {"urn": "a::b", "type": "kubernetes:core/v1:Namespace"})
    fake.answers("preview --json", {"steps": []})
    assert engine.main(["recover", "--", "--yes"]) == 0
    assert fake.words == [
        "refresh --clear-pending-creates --target **proxmoxve** --stack homelab --yes"
    ]
    assert "does not answer: only Proxmox is looked at" in capfd.readouterr().out


PROXMOX = "refresh --target **VmLegacy** --target **download/file:File**"
LOOK = f"{PROXMOX} --stack homelab"
QUIET = f"{PROXMOX} --preview-only --expect-no-changes --stack homelab --non-interactive"
DESTROY = "destroy --stack homelab --yes"


def test_a_castle_with_all_its_machines_is_taken_down(fake: Cli) -> None:
    state(fake, VM)
    assert engine.main(["down", "--", "--yes"]) == 0
    assert fake.words == [QUIET, DESTROY]


def test_machines_that_are_gone_are_shown_and_forgotten_first(fake: Cli) -> None:
    state(fake, VM)
    fake.does("sys.exit(1 if '--expect-no-changes' in arguments else 0)")
    assert engine.main(["down", "--", "--yes"]) == 0
    assert fake.words == [QUIET, f"{LOOK} --yes", DESTROY]


def test_what_cannot_be_removed_is_told_and_keeps_nothing_else(
    fake: Cli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a machine of ours that somebody has protected in Proxmox."""
    removed: list[str] = []

    def refuse() -> None:
        raise OrphanSearchError(
            "VM 8001 is still there: can't remove VM 8001 - protection mode enabled"
        )

    found = [
        OrphanedResource("VM 8001", refuse),
        OrphanedResource("VM 8002", lambda: removed.append("VM 8002")),
    ]
    settings = SimpleNamespace(proxmoxve=None, stack_tag="ephemeral-castle-homelab")
    monkeypatch.setattr("clients.pulumi_cli.stack_settings.settings", lambda session: settings)
    monkeypatch.setattr("commands.running_tasks.wait", lambda session: None)
    monkeypatch.setattr("commands.orphaned_resources.machines", lambda *_: found)
    monkeypatch.setattr("commands.orphaned_resources.look", lambda *_: found[:1])
    state(fake, VM)
    after = fake.folder / "after"
    fake.does(f"arguments[0] == 'destroy' and pathlib.Path({str(after)!r}).touch()")
    monkeypatch.setattr(
        session.Session,
        "deployment",
        lambda *_, **__: {} if after.exists() else {"resources": [VM]},
    )
    assert engine.main(["down", "--", "--yes"]) == 1
    assert fake.words == [QUIET, DESTROY]
    assert removed == ["VM 8002"]
    assert capfd.readouterr().out.count("VM 8001 is still there: can't remove") == 2


def test_a_destroy_that_fails_is_handed_on(fake: Cli) -> None:
    fake.answers("destroy", code=255)
    assert engine.main(["down", "--", "--yes"]) == 255


def test_remains_that_could_not_be_looked_for_are_no_success(
    fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    state(fake)
    fake.answers("config --json", "error: incorrect passphrase", code=1)
    assert engine.main(["down", "--", "--yes"]) == 1
    assert "Whether anything else is left was not seen" in capfd.readouterr().out


def test_a_disk_that_the_state_has_lost_is_put_there_again(
    fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    disks = {"inputs": {"disks": [{"interface": "scsi0"}]}, "outputs": {"disks": [{"size": 0}]}}
    state(fake, VM | disks)
    fake.answers("preview --json", {"steps": []})
    assert engine.main(["recover"]) == 1  # nobody is there to ask
    assert fake.words == []
    assert engine.main(["up", "--", "--yes"]) == 0
    imported, *rest = fake.words
    assert imported.startswith("stack import --file ")
    assert rest == [REFRESH, UP]
    assert "has lost a disk of machines-a" in capfd.readouterr().out
