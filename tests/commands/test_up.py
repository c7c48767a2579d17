"""``make up``: one preview, one question, one update; only the preview if nothing changes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.pulumi_cli.session import Session
from commands import ask, last_up
from commands import up as command
from tests.commands.conftest import Cli, fake

__all__ = ["fake"]

STACK = "urn:pulumi:homelab::ephemeral-castle::pulumi:pulumi:Stack::ephemeral-castle-homelab"


def log(counts: dict[str, int] | None, old: Any = None, new: Any = None) -> str:
    """The events of a preview, as the engine writes them."""
    metadata = {
        "op": "same",
        "urn": STACK,
        "type": "pulumi:pulumi:Stack",
        "old": {"outputs": old or {}},
        "new": {"outputs": new or {}},
    }
    events: list[dict[str, Any]] = [{"timestamp": 1, "resOutputsEvent": {"metadata": metadata}}]
    if counts is not None:
        events.append({"timestamp": 2, "summaryEvent": {"resourceChanges": counts}})
    return "\n".join(json.dumps(event) for event in events)


NOTHING = log({"same": 55}, {"url": "https://a"}, {"url": "https://a"})


@pytest.mark.parametrize(
    ("events", "changes"),
    [
        (NOTHING, False),
        (log({"same": 54, "update": 1}), True),
        (log({"create": 55}), True),
        (log({"same": 54, "delete": 1}), True),
        (log({"same": 55}, {"url": "https://a"}, {"url": "https://b"}), True),
        (log({"same": 55}, None, {"url": "https://b"}), True),
        (log(None), True),
        ("", True),
    ],
)
def test_the_event_log_shows_whether_a_preview_has_changes(events: str, changes: bool) -> None:
    assert command.has_changes(events) is changes


class User:
    """A user at a terminal who gives one answer; ``asked`` lists the prompts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(command, "confirmed", ask.confirmed)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

        def reply(prompt: str) -> str:
            self.asked.append(prompt)
            return answer

        monkeypatch.setattr("builtins.input", reply)


def prepare_preview(cli: Cli, events: str) -> None:
    """Let the CLI write these events in a preview and succeed in all other commands."""
    cli.does(
        "if arguments[0] == 'preview':\n"
        f"    pathlib.Path(arguments[-1]).write_text({events!r})\n"
        "sys.exit(0)"
    )


@pytest.fixture
def session(fake: Cli, tmp_path: Path) -> Session:
    (tmp_path / "private").mkdir()
    return Session(fake.folder / "pulumi", "homelab", tmp_path / "private", tmp_path)


def run(session: Session, *cli_args: str) -> tuple[int, list[Session]]:
    """Run ``up``; returns the exit code and the sessions for which ``after`` was called."""
    finished: list[Session] = []
    return command.up(session, cli_args, finished.append), finished


def words(fake: Cli) -> list[list[str]]:
    """The arguments of each call, without the event log."""
    return [arguments[: arguments.index("--event-log")] for arguments, _, _ in fake.calls]


def test_up_ends_after_the_preview_if_nothing_changes(
    fake: Cli, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_preview(fake, NOTHING)
    assert run(session, "--yes") == (0, [session])
    assert words(fake) == [["preview", "--stack", "homelab"]]
    assert capsys.readouterr().out == "Nothing to change.\n"


def test_up_asks_once_and_updates_without_a_second_preview(
    fake: Cli, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = User(monkeypatch, "yes")
    prepare_preview(fake, log({"update": 1}))
    assert run(session, "--target", "x") == (0, [session])
    assert user.asked == ["Perform this update? (yes/no) "]
    assert words(fake) == [
        ["preview", "--stack", "homelab", "--target", "x"],
        ["up", "--stack", "homelab", "--yes", "--skip-preview", "--target", "x"],
    ]


def test_up_changes_nothing_after_a_no(
    fake: Cli, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    User(monkeypatch, "no")
    prepare_preview(fake, log({"update": 1}))
    assert run(session) == (1, [])
    assert [arguments[0] for arguments in words(fake)] == ["preview"]


def test_yes_answers_the_question_and_is_not_passed_to_the_preview(
    fake: Cli, session: Session
) -> None:
    prepare_preview(fake, log({"update": 1}))
    assert run(session, "--yes", "--continue-on-error") == (0, [session])
    assert words(fake) == [
        ["preview", "--stack", "homelab"],
        ["up", "--stack", "homelab", "--yes", "--skip-preview", "--continue-on-error"],
    ]


def test_up_with_refresh_always_updates(fake: Cli, session: Session) -> None:
    prepare_preview(fake, NOTHING)
    assert run(session, "--refresh", "--yes") == (0, [session])
    assert [arguments[0] for arguments in words(fake)] == ["preview", "up"]


def test_skip_preview_skips_the_preview(fake: Cli, session: Session) -> None:
    assert run(session, "--skip-preview", "--yes") == (0, [session])
    assert words(fake) == [["up", "--stack", "homelab", "--yes", "--skip-preview"]]


def test_up_ends_after_a_failed_preview_and_shows_the_reason(
    fake: Cli, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    diagnostic = {
        "severity": "error",
        "urn": "urn:pulumi:homelab::x::a$b:c:D::machines-castle-worker-1",
        "message": "VM id 8010 is taken",
    }
    events = json.dumps({"timestamp": 1, "diagnosticEvent": diagnostic})
    fake.does(
        f"pathlib.Path(arguments[-1]).write_text({events!r})\n"
        "sys.exit(4 if arguments[0] == 'preview' else 0)"
    )
    assert run(session, "--yes") == (4, [])
    assert [arguments[0] for arguments in words(fake)] == ["preview"]
    assert "machines-castle-worker-1 (b:c:D): VM id 8010 is taken" in capsys.readouterr().out


def test_up_without_changes_marks_an_earlier_failure_as_settled(
    fake: Cli, session: Session, tmp_path: Path
) -> None:
    record = last_up.file(tmp_path, "homelab")
    record.parent.mkdir()
    failed = last_up.LastUp(begun=1, seconds=1, succeeded=False, operations=())
    record.write_text(json.dumps(vars(failed)))
    prepare_preview(fake, NOTHING)
    assert run(session, "--yes")[0] == 0
    found = last_up.load(tmp_path, "homelab")
    assert found is not None and found.settled
