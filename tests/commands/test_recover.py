"""``make up``, ``make recover`` and ``make down`` after a killed or failed run."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clients.errors import OperationError
from clients.pulumi_cli import session
from commands import __main__ as commands
from commands import last_up
from commands.orphaned_resources import OrphanedResource
from commands.recover import BUSY
from tests.commands.conftest import Cli

LOCK = "state/.pulumi/locks/organization/ephemeral-castle/homelab/uuid.json"
VM = {
    "urn": "urn:pulumi:homelab::ephemeral-castle::proxmoxve:index/vmLegacy:VmLegacy::machines-a",
    "type": "proxmoxve:index/vmLegacy:VmLegacy",
}


@pytest.fixture(autouse=True)
def _empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a project folder in which no process of this computer runs."""
    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")


def state(fake: Cli, *resources: dict[str, Any], pending: tuple[dict[str, Any], ...] = ()) -> None:
    deployment = {"resources": resources, "pending_operations": pending}
    fake.answers("stack export", {"version": 3, "deployment": deployment})
    fake.answers("config --json", code=1)  # the settings cannot be read: Proxmox is not searched


def lock(tmp_path: Path, host: str = "") -> Path:
    file = tmp_path / LOCK
    file.parent.mkdir(parents=True)
    content = {"pid": 2**22 + 1, "hostname": host or socket.gethostname(), "username": "me"}
    file.write_text(json.dumps(content))
    return file


def test_up_after_a_successful_run_only_updates(fake: Cli) -> None:
    state(fake, VM)
    assert commands.main(["up", "--", "--yes"]) == 0
    assert fake.words == ["up --stack homelab --yes --skip-preview"]


UP = "up --stack homelab --yes --skip-preview"
REFRESH = "refresh --clear-pending-creates --stack homelab --yes"


@pytest.mark.parametrize("half_created", [True, False])
def test_up_refreshes_first_if_the_state_is_damaged(
    fake: Cli, half_created: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if half_created:
        state(fake, VM | {"initErrors": ["resize failed"]})
    else:
        state(fake, pending=({"type": "creating", "resource": VM},))
    fake.answers("preview --json", {"steps": []})
    assert commands.main(["up", "--", "--yes"]) == 0
    assert fake.words == [REFRESH, "up --stack homelab --yes --skip-preview"]
    sentence = "only partly created:" if half_created else "outcome unknown for"
    assert f"{sentence} machines-a: will refresh" in capfd.readouterr().out


def write_failed_up(tmp_path: Path) -> None:
    """Write the record of an ``up`` that failed."""
    record = last_up.file(tmp_path, "homelab")
    record.parent.mkdir()
    last = last_up.LastUp(begun=1, seconds=1, succeeded=False, operations=())
    record.write_text(json.dumps(asdict(last)))


def test_the_first_up_after_a_failed_one_recovers_and_the_second_does_not(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_failed_up(tmp_path)
    state(fake, VM)
    fake.answers("preview --json", {"steps": []})
    # The second `up` changes nothing, so it does not replace the record of the failure.
    for _ in range(2):
        assert commands.main(["up", "--", "--yes"]) == 0
    assert fake.words == [REFRESH, UP, UP]
    assert "The last run did not finish" in capfd.readouterr().out


def test_arguments_of_up_are_not_passed_to_the_refresh(fake: Cli, tmp_path: Path) -> None:
    write_failed_up(tmp_path)
    state(fake, VM)
    fake.answers("preview --json", {"steps": []})
    assert commands.main(["up", "--", "--replace", "x", "--yes"]) == 0
    assert fake.words == [REFRESH, "up --stack homelab --yes --skip-preview --replace x"]


def test_up_after_down_does_not_recover(fake: Cli, tmp_path: Path) -> None:
    write_failed_up(tmp_path)
    state(fake)
    commands.main(["down", "--", "--yes"])
    commands.main(["up", "--", "--yes"])
    assert fake.words == [COMPARE, DESTROY, UP]


@pytest.mark.parametrize("words", ["--target x", "-t x", "-x x"])
def test_a_partial_destroy_does_not_search_for_unknown_vms(fake: Cli, words: str) -> None:
    state(fake, VM)
    assert commands.main(["down", "--", *words.split()]) == 0
    assert fake.words == [COMPARE, f"destroy --stack homelab {words}"]
    assert not any(arguments[0] == "config" for arguments, _, _ in fake.calls)


def test_down_with_preview_only_changes_nothing(fake: Cli, tmp_path: Path) -> None:
    file = lock(tmp_path)
    state(fake, VM)
    fake.does("sys.exit(1 if '--expect-no-changes' in arguments else 0)")
    assert commands.main(["down", "--", "--preview-only", "--yes"]) == 0
    assert fake.words == ["destroy --stack homelab --preview-only --yes"]
    assert file.exists()


def test_recover_shows_and_removes_a_lock_before_it_runs_the_cli(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = lock(tmp_path)
    state(fake)
    fake.answers("preview --json", {"steps": []})
    assert commands.main(["recover", "--", "--yes"]) == 0
    assert not file.exists()
    assert fake.words == [REFRESH]
    out = capfd.readouterr().out
    assert "lock of process" in out
    assert out.rstrip().endswith("Recovered. Continue with `make up` or `make down`.")


def test_without_a_terminal_and_without_yes_nothing_is_changed(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = lock(tmp_path)
    for word in ("recover", "up", "down"):
        assert commands.main([word]) == 1
        assert "answer yes with ARGS=--yes" in capfd.readouterr().out
    assert file.exists()
    assert fake.words == []


def test_an_active_run_stops_recover_up_down_and_cancel(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lock(tmp_path)
    monkeypatch.setattr("commands.stale_processes.Lock.is_active", True)
    for word in ("recover", "up", "down", "cancel"):
        assert commands.main([word, "--", "--yes"]) == BUSY
        assert "Another run is active" in capfd.readouterr().out
    assert fake.words == []


def test_yes_does_not_remove_the_lock_of_another_computer(
    fake: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = lock(tmp_path, "laptop")
    for word in ("recover", "up", "down", "cancel"):
        assert commands.main([word, "--", "--yes"]) == 1
        out = capfd.readouterr().out
        assert "does not answer for a run on laptop. Check that no run is active there" in out
        assert str(file) in out
    assert file.exists()
    assert fake.words == []


def test_a_user_may_remove_the_lock_of_another_computer(
    fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lock(tmp_path, "laptop")
    state(fake)
    fake.answers("preview --json", {"steps": []})
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert commands.main(["cancel", "--", "--yes"]) == 0
    assert fake.words == ["cancel --stack homelab --yes"]
    assert commands.main(["recover", "--", "--yes"]) == 0
    assert not file.exists()


@pytest.mark.parametrize("stops", [KeyboardInterrupt, EOFError])
def test_ctrl_c_at_a_question_ends_without_a_traceback(
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
    assert commands.main(["recover"]) == 130
    assert capfd.readouterr().err.endswith("Stopped.\n")
    assert file.exists()


def test_the_reason_of_a_failed_preview_is_shown(
    fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    """With --json the CLI prints its error to standard output, which is not shown."""
    state(fake, VM | {"initErrors": ["resize failed"]})
    fake.answers("preview", "error: VM id 8000 is taken", code=255)
    assert commands.main(["up", "--", "--yes"]) == 1
    assert fake.words == [REFRESH]
    shown = capfd.readouterr().out
    assert "because the preview fails:\nerror: VM id 8000 is taken" in shown


def test_a_failed_refresh_ends_the_recovery(fake: Cli) -> None:
    state(fake, VM | {"initErrors": ["resize failed"]})
    fake.answers("refresh", code=255)
    assert commands.main(["up", "--", "--yes"]) == 255
    assert fake.words == [REFRESH]


def test_only_proxmox_is_refreshed_if_the_kubernetes_api_does_not_answer(
    fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    state(fake, VM | {"initErrors": ["x"]}, {"urn": "a::b", "type": "kubernetes:core/v1:Namespace"})
    fake.answers("preview --json", {"steps": []})
    assert commands.main(["recover", "--", "--yes"]) == 0
    assert fake.words == [
        "refresh --clear-pending-creates --target **proxmoxve** --stack homelab --yes"
    ]
    assert "does not answer: refreshing only Proxmox resources" in capfd.readouterr().out


PROXMOX = "refresh --target **VmLegacy** --target **download/file:File**"
REFRESH_PROXMOX = f"{PROXMOX} --stack homelab"
COMPARE = f"{PROXMOX} --preview-only --expect-no-changes --stack homelab --non-interactive"
DESTROY = "destroy --stack homelab --yes"


def test_down_does_not_refresh_if_all_vms_exist(fake: Cli) -> None:
    state(fake, VM)
    assert commands.main(["down", "--", "--yes"]) == 0
    assert fake.words == [COMPARE, DESTROY]


def test_down_refreshes_first_if_vms_were_deleted_by_hand(fake: Cli) -> None:
    state(fake, VM)
    fake.does("sys.exit(1 if '--expect-no-changes' in arguments else 0)")
    assert commands.main(["down", "--", "--yes"]) == 0
    assert fake.words == [COMPARE, f"{REFRESH_PROXMOX} --yes", DESTROY]


def test_an_orphan_that_cannot_be_removed_is_reported_and_the_rest_is_removed(
    fake: Cli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """For example a VM of the stack with Proxmox' protection flag."""
    removed: list[str] = []

    def refuse() -> None:
        raise OperationError(
            "VM 8001 could not be removed: can't remove VM 8001 - protection mode enabled"
        )

    orphans = [
        OrphanedResource("VM 8001", refuse),
        OrphanedResource("VM 8002", lambda: removed.append("VM 8002")),
    ]
    settings = SimpleNamespace(proxmoxve=None, stack_tag="ephemeral-castle-homelab", machines=[])
    monkeypatch.setattr("clients.pulumi_cli.stack_settings.settings", lambda session: settings)
    monkeypatch.setattr("commands.running_tasks.wait", lambda session: None)
    monkeypatch.setattr("commands.orphaned_resources.find_vms", lambda *_: orphans)
    monkeypatch.setattr("commands.orphaned_resources.find_orphans", lambda *_: orphans[:1])
    state(fake, VM)
    after = fake.folder / "after"
    fake.does(f"arguments[0] == 'destroy' and pathlib.Path({str(after)!r}).touch()")
    monkeypatch.setattr(
        session.Session,
        "deployment",
        lambda *_, **__: {} if after.exists() else {"resources": [VM]},
    )
    assert commands.main(["down", "--", "--yes"]) == 1
    assert fake.words == [COMPARE, DESTROY]
    assert removed == ["VM 8002"]
    assert capfd.readouterr().out.count("VM 8001 could not be removed: can't remove") == 2


def test_down_returns_the_exit_code_of_a_failed_destroy(fake: Cli) -> None:
    fake.answers("destroy", code=255)
    assert commands.main(["down", "--", "--yes"]) == 255


def test_down_fails_if_proxmox_cannot_be_searched_for_orphans(
    fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    state(fake)
    fake.answers("config --json", "error: incorrect passphrase", code=1)
    assert commands.main(["down", "--", "--yes"]) == 1
    shown = capfd.readouterr().out
    assert "Proxmox could not be searched for resources that are not in the state" in shown


def test_a_disk_that_is_missing_in_the_state_is_added_again(
    fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    disks = {"inputs": {"disks": [{"interface": "scsi0"}]}, "outputs": {"disks": [{"size": 0}]}}
    state(fake, VM | disks)
    fake.answers("preview --json", {"steps": []})
    assert commands.main(["recover"]) == 1  # no terminal, so the answer is no
    assert fake.words == []
    assert commands.main(["up", "--", "--yes"]) == 0
    imported, *rest = fake.words
    assert imported.startswith("stack import --file ")
    assert rest == [REFRESH, UP]
    assert "lacks a disk of machines-a" in capfd.readouterr().out
