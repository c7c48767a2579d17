"""``make rack``: what it says, and that it leaves nothing behind."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest

from tests.e2e import try_rack
from tests.e2e.lab import CLUSTER, ENGINE, may_not_listen
from tests.e2e.leftovers import Trial


def test_without_its_tools_it_says_which_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(try_rack, "missing", lambda: "not found: etcd")
    assert try_rack.main() == 1
    assert "not found: etcd. See tests/e2e/README.md" in capsys.readouterr().err
    assert not try_rack.STACK_FILE.exists()


@pytest.mark.skipif(bool(may_not_listen()), reason=may_not_listen())
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_shows_its_page_and_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path
) -> None:
    """With programs that do nothing: none of them is started before there is a cluster."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (*ENGINE, *CLUSTER):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    with Trial(tmp_path, {"PATH": str(tools)}) as trial:
        guide = trial.start()
        page = next(word for line in guide for word in line.split() if word.startswith("http://"))
        with urllib.request.urlopen(page, timeout=30) as answer:
            assert b"Simulated rack" in answer.read()
        assert trial.files() != [] and trial.processes() != []
        trial.end(number)
        assert (trial.files(), trial.processes()) == ([], [])
