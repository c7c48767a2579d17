"""``make replicas``: which volumes it lists, its question, and what it changes."""

from __future__ import annotations

from typing import Any

import pytest

from clients.kubernetes.api import KubernetesError
from commands import __main__ as commands
from tests.commands.conftest import Cli, fake, opened_state
from tests.lifecycle.fake_longhorn import FakeLonghorn
from tests.recorder import settings_with

__all__ = ["fake"]

TRAEFIK, LIBRARY, FILMS = "traefik/traefik-certificates", "media/library", "media/films"


@pytest.fixture
def longhorn(fake: Cli, monkeypatch: pytest.MonkeyPatch) -> FakeLonghorn:
    """A stack with ``longhorn.replicas`` 2, and volumes with 1, 2 and 3 copies."""
    fake.answers("stack export", opened_state("a kubeconfig"))
    settings = settings_with(longhorn={"replicas": 2})
    monkeypatch.setattr("clients.pulumi_cli.stack_settings.settings", lambda session: settings)
    cluster = FakeLonghorn().install(monkeypatch)
    cluster.add_volume(TRAEFIK, 2, "worker-1", "worker-2")
    cluster.add_volume(LIBRARY, 1, "worker-1", gib=20)
    cluster.add_volume(FILMS, 3, "worker-1", "worker-2", "worker-3", gib=5)
    cluster.add_volume("media/scratch", 1, "worker-1", storage_class="one-copy")
    return cluster


def replicas(*cli_args: str) -> int:
    return commands.main(["replicas", "--stack", "homelab", "--", *cli_args])


def test_yes_changes_all_volumes_of_the_storage_class_and_no_other(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replicas("--yes") == 0
    assert [longhorn.copies_of(it) for it in (TRAEFIK, LIBRARY, FILMS)] == [2, 2, 2]
    assert longhorn.copies_of("media/scratch") == 1
    assert len(longhorn.merged) == 2
    shown = capsys.readouterr().out
    assert (
        "  - media/films (5.0 GiB): 3 → 2 copies\n  - media/library (20.0 GiB): 1 → 2 copies\n"
        in shown
    )
    assert (
        "Longhorn copies up to 20.0 GiB and deletes up to 5.0 GiB of surplus copies, calculated"
        in shown
    )
    assert "kubectl -n longhorn-system get volumes.longhorn.io" in shown
    assert longhorn.now == 0


def test_without_a_terminal_and_without_yes_no_volume_is_changed(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replicas() == 1
    assert longhorn.merged == []
    shown = capsys.readouterr().out
    assert "media/library (20.0 GiB): 1 → 2 copies" in shown
    assert "ARGS=--yes" in shown
    assert "Nothing has been changed" in shown


@pytest.mark.parametrize(("answer", "code", "copies"), [("yes", 0, 2), ("no", 1, 1)])
def test_the_answer_at_the_terminal_decides(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, copies: int
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert replicas() == code
    assert longhorn.copies_of(LIBRARY) == copies


def test_there_is_no_question_if_nothing_would_change(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replicas("--yes") == 0
    capsys.readouterr()
    assert replicas() == 0
    shown = capsys.readouterr().out
    assert "All volumes of storage class longhorn already have the number of copies 2." in shown
    assert len(longhorn.merged) == 2


def test_the_list_marks_volumes_of_deleted_claims(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    longhorn.add_volume(LIBRARY, 1, "worker-1", gib=20, pv_status="Released")
    replicas("--yes")
    shown = capsys.readouterr().out
    assert "media/library (20.0 GiB, its claim is deleted): 1 → 2 copies" in shown


def test_a_volume_that_longhorn_refuses_does_not_stop_the_others(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    merge = longhorn.merge

    def refuse(path: str, change: Any) -> None:
        if path.endswith("pvc-films"):
            raise KubernetesError(
                f"PATCH {path}", "https://vip:6443", "Forbidden: denied by webhook", 403
            )
        merge(path, change)

    monkeypatch.setattr(longhorn, "merge", refuse)
    assert replicas("--yes") == 1
    assert (longhorn.copies_of(LIBRARY), longhorn.copies_of(FILMS)) == (2, 3)
    shown = capsys.readouterr().out
    assert "media/films was not changed (number of copies: 3): the Kubernetes API answers" in shown
    assert "Set the number of copies to 2 in 1 of 2 volumes." in shown


def test_a_cluster_that_does_not_answer_is_an_error(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    longhorn.error = KubernetesError("GET /", "https://vip:6443", "no answer in time")
    assert replicas("--yes") == 1
    assert "not changed: the Kubernetes API at https" in capsys.readouterr().out


def test_a_stack_without_a_cluster_is_an_error(
    longhorn: FakeLonghorn, fake: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers("stack export", {"version": 3, "deployment": {}})
    assert replicas("--yes") == 1
    assert "The stack homelab has no cluster" in capsys.readouterr().out
